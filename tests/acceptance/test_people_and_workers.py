"""What people do on the server reaches workers that run: lock, unlock, fire, hire, revoke."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import psutil
import pytest
import yaml

from outsourced.states import Event, Reason, State
from tests.acceptance.conftest import Deploy, needs_worker
from tests.acceptance.deployment import QUEUE, Deployment
from tests.acceptance.ledger import Run
from tests.acceptance.process import Process
from tests.acceptance.waiting import is_gone, wait_until

pytestmark = [pytest.mark.slow, needs_worker]

ONE_PROCESS = ("-P", "processes", "-c", "1")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The held job ends when this file is there."""
    return tmp_path / "gate"


@pytest.fixture
def deployment(deploy: Deploy) -> Deployment:
    """One whose server does not let a worker wait long, so that it asks often."""
    return deploy(settings={"OUTSOURCED_POLL_WAIT": "500ms"})


@pytest.fixture
def worker(deployment: Deployment) -> Process:
    return deployment.add_worker("near", *ONE_PROCESS)


@pytest.fixture
def run(deployment: Deployment, worker: Process, gate: Path) -> Run:
    """A held job that the worker has begun, and has told of."""
    (job,) = deployment.enqueue("hold", str(gate))
    wait_until(lambda: deployment.state(job) is State.WORKING)
    (run,) = deployment.ledger.of(job)
    return run


def refusals(deployment: Deployment) -> int:
    """How often the worker was told that it is locked out."""
    return sum(
        passing.status == 401 and passing.answered["code"] == "worker_locked"
        for passing in deployment.proxy.answered
    )


def wait_for_word_of(deployment: Deployment, worker: Process) -> None:
    """Waits until the worker has asked, and been answered, twice more."""
    since = len(deployment.proxy.answered)
    wait_until(
        lambda: sum(one.worker_pid == worker.pid for one in deployment.proxy.answered[since:]) >= 2,
    )


def ends_of(deployment: Deployment, job: UUID) -> list[tuple[Event, str | None, UUID | None]]:
    """How the leases of a job ended."""
    leased = (State.ASSIGNED, State.WORKING)
    return [
        (row.event, row.reason, row.lease_id)
        for row in deployment.backend.history(job)
        if row.from_state in leased and row.to_state not in leased
    ]


def test_lock_stops_the_tasks_of_a_worker_and_unlock_lets_it_go_on(
    deployment: Deployment, worker: Process, run: Run, gate: Path
) -> None:
    pid, task = worker.pid, psutil.Process(run.pid)
    deployment.flask("worker", "lock", "near")
    assert ends_of(deployment, run.job_id) == [(Event.RESCUE, Reason.LOCKED, run.lease_id)]
    wait_until(lambda: is_gone(task))
    wait_until(lambda: refusals(deployment) >= 3)  # it asks again, and again
    assert deployment.ledger.running() == [run]

    deployment.flask("worker", "unlock", "near")
    gate.touch()
    deployment.wait_finished()
    assert worker.pid == pid
    assert worker.runs
    assert worker.says("the worker is unlocked")
    _, again = deployment.ledger.of(run.job_id)
    assert ends_of(deployment, run.job_id)[1:] == [(Event.COMPLETE, None, again.lease_id)]


def test_fire_lets_a_begun_job_finish_and_hands_out_no_other(
    deployment: Deployment, worker: Process, run: Run, gate: Path
) -> None:
    deployment.flask("worker", "fire", "near", QUEUE)
    (later,) = deployment.enqueue("chore", 0)
    gate.touch()
    wait_until(lambda: deployment.state(run.job_id) is State.COMPLETED)
    wait_for_word_of(deployment, worker)
    assert deployment.state(later) is State.UNASSIGNED

    deployment.flask("worker", "hire", "near", QUEUE)
    deployment.wait_finished()
    assert ends_of(deployment, run.job_id) == [(Event.COMPLETE, None, run.lease_id)]


@pytest.mark.parametrize(
    ("jobs", "event", "state"),
    [("release", Event.RELEASE, State.UNASSIGNED), ("cancel", Event.CANCEL, State.CANCELLED)],
)
def test_fire_stops_a_begun_job_where_that_is_wanted(
    deployment: Deployment, worker: Process, run: Run, jobs: str, event: Event, state: State
) -> None:
    task = psutil.Process(run.pid)
    deployment.flask("worker", "fire", "near", QUEUE, "--jobs", jobs, "--yes")
    wait_until(lambda: is_gone(task))
    wait_until(lambda: deployment.state(run.job_id) is state)
    assert [(ended, lease) for ended, _, lease in ends_of(deployment, run.job_id)] == [(event, run.lease_id)]
    assert worker.runs


def test_revoke_ends_the_process_with_that_key_and_no_other(
    deployment: Deployment, worker: Process, run: Run, gate: Path
) -> None:
    place = deployment.folder / "near"
    deployment.flask("worker", "config", "--include", "chores", "-o", str(place / "second.yml"), "near")
    other = deployment.add_worker("near", "second.yml", *ONE_PROCESS)
    key = yaml.safe_load((place / "outsourced.yml").read_text())["key_id"]
    deployment.flask("worker", "revoke", "near", key, "--yes")
    assert worker.wait_ended() == 1
    assert worker.says("the server does not accept these credentials")

    gate.touch()
    deployment.wait_finished()
    assert other.runs
    assert [one.worker_pid for one in deployment.ledger.of(run.job_id)] == [run.worker_pid, other.pid]
