"""`flask outsourcer worker run`: the worker beside the database, as a process that people start and kill."""

from __future__ import annotations

import io
import json
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from outsourced.records import NewFile, Progress
from outsourced.sql import overview
from outsourced.states import Event, State
from tests.acceptance.conftest import Deploy
from tests.acceptance.deployment import QUEUE, Deployment
from tests.acceptance.verdict import assert_kept_promises, enqueued
from tests.acceptance.waiting import is_gone, wait_until

pytestmark = pytest.mark.slow

POOLS = {"solo": 1, "threads": 2, "processes": 2}
#: seconds in which what takes effect at once has done so; a poll would be parked for much longer
AT_ONCE = 5.0


@pytest.fixture
def deployment(deploy: Deploy) -> Deployment:
    """A database and nothing else: no server runs."""
    return deploy(servers=0)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The held job ends when this file is there."""
    return tmp_path / "gate"


def hold(deployment: Deployment, gate: Path) -> UUID:
    """A held job that is known to have begun."""
    (job,) = deployment.enqueue("hold", str(gate))
    wait_until(lambda: deployment.state(job) is State.WORKING)
    return job


def wait_idle(deployment: Deployment) -> None:
    """Waits until a worker has worked off a first job: it is up, and parks its poll."""
    (first,) = deployment.enqueue("look_around")
    wait_until(lambda: deployment.state(first) is State.COMPLETED)


@pytest.mark.parametrize("pool", POOLS)
def test_jobs_run_in_the_app_with_files_and_children(deployment: Deployment, pool: str) -> None:
    content = bytes(range(256)) * 2000
    looks = deployment.enqueue("look_around", count=4)
    (copy,) = deployment.enqueue(
        "copy", attachment=NewFile(open=lambda: io.BytesIO(content), filename="all.bin")
    )
    (stumble,) = deployment.enqueue("stumble")
    (parent,) = deployment.enqueue("split", [0.001, 0.002])
    deployment.add_server_worker("near", "-P", pool, "-c", str(POOLS[pool]))
    deployment.wait_finished()
    deployment.drain()

    assert {deployment.job(look).result for look in looks} == {'["host",false]'}
    assert {deployment.job(look).worker for look in looks} == {"near"}
    with deployment.backend.open_file(copy, "copy") as file:
        assert file.read() == content
    assert deployment.job(stumble).attempt == 2
    children = [UUID(line.split()[0]) for line in json.loads(deployment.job(parent).result or "[]")]
    assert {deployment.state(child) for child in children} == {State.COMPLETED}
    assert {deployment.backend.history(child)[0].actor for child in children} == {f"task:{parent}"}
    assert_kept_promises(deployment, enqueued([*looks, copy, stumble, parent, *children]))


@pytest.mark.parametrize("pool", POOLS)
def test_task_in_the_app_tells_how_far_it_is(deployment: Deployment, pool: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    (job,) = deployment.enqueue("advance", str(gate))
    deployment.add_server_worker("near", "-P", pool, "-c", str(POOLS[pool]))
    told = Progress(state="PROGRESS", meta='{"current":1000,"total":1000}')
    wait_until(lambda: deployment.job(job).progress == told)
    gate.touch()
    deployment.wait_finished()
    deployment.drain()
    assert deployment.job(job).progress is None


def test_worker_is_made_and_hired_once_and_never_again(deployment: Deployment) -> None:
    deployment.flask("queue", "create", "other")
    deployment.add_server_worker("--burst", "-P", "solo", "-Q", QUEUE).wait_ended()
    (info,) = overview.workers(deployment.backend.database)
    assert info.name.startswith("server@")
    assert info.queues == (QUEUE,)

    deployment.flask("worker", "fire", info.name, QUEUE)
    (job,) = deployment.enqueue("look_around")
    again = deployment.add_server_worker("--burst", "-P", "solo", "-Q", QUEUE)
    assert again.wait_ended() == 0
    assert again.says(f"Worker {info.name!r} works no queue")
    assert deployment.state(job) is State.UNASSIGNED


def test_job_enqueued_by_another_process_is_begun_at_once(deployment: Deployment) -> None:
    deployment.add_server_worker("near", "-P", "threads")
    wait_idle(deployment)
    (job,) = deployment.enqueue("look_around")
    wait_until(lambda: deployment.state(job) is State.COMPLETED, AT_ONCE)


@pytest.mark.parametrize("pool", POOLS)
def test_job_of_a_killed_worker_is_rescued(deployment: Deployment, gate: Path, pool: str) -> None:
    first = deployment.add_server_worker("near", "-P", pool, "-c", str(POOLS[pool]))
    job = hold(deployment, gate)
    first.kill()
    gate.touch()
    deployment.add_server_worker("near", "-P", pool, "-c", str(POOLS[pool]))
    deployment.wait_finished()

    events = [row.event for row in deployment.backend.history(job)]
    assert events[:4] == [Event.ENQUEUE, Event.CLAIM, Event.BEGIN, Event.RESCUE]
    assert deployment.job(job).attempt == 2
    assert len(deployment.ledger.of(job)) == 2
    assert_kept_promises(deployment, enqueued([job]))


def test_lock_stops_its_tasks_at_once_and_unlock_lets_it_go_on(deployment: Deployment, gate: Path) -> None:
    worker = deployment.add_server_worker("near", "-P", "processes", "-c", "1")
    job = hold(deployment, gate)
    (run,) = deployment.ledger.of(job)
    task = psutil.Process(run.pid)
    deployment.flask("worker", "lock", "near")
    wait_until(lambda: is_gone(task), AT_ONCE)
    assert worker.runs

    gate.touch()
    deployment.flask("worker", "unlock", "near")
    deployment.wait_finished()
    assert deployment.job(job).attempt == 2


def test_fire_and_hire_act_at_once(deployment: Deployment) -> None:
    deployment.flask("queue", "create", "other")
    deployment.add_server_worker("near", "-P", "threads")
    wait_idle(deployment)
    deployment.flask("worker", "fire", "near", QUEUE)
    (left,) = deployment.enqueue("look_around")
    deployment.flask("job", "enqueue", "look_around", "-q", "other")
    wait_until(lambda: deployment.unfinished() == 1, AT_ONCE)
    assert deployment.state(left) is State.UNASSIGNED

    deployment.flask("worker", "hire", "near", QUEUE)
    wait_until(lambda: deployment.state(left) is State.COMPLETED, AT_ONCE)


def test_term_finishes_what_has_begun_and_a_second_gives_it_back(deployment: Deployment, gate: Path) -> None:
    worker = deployment.add_server_worker("near", "-P", "processes", "-c", "1")
    job = hold(deployment, gate)
    worker.terminate()
    wait_until(lambda: worker.says("draining"))
    assert deployment.state(job) is State.WORKING
    worker.terminate()
    assert worker.wait_ended() == 0
    assert deployment.state(job) is State.UNASSIGNED
    assert deployment.backend.history(job)[-1].event is Event.RELEASE


def test_worker_destroyed_ends_with_a_message(deployment: Deployment) -> None:
    worker = deployment.add_server_worker("near", "-P", "threads")
    wait_idle(deployment)
    deployment.flask("worker", "destroy", "near", "--yes")
    assert worker.wait_ended() == 1
    assert worker.says("there is no worker 'near' any more")
