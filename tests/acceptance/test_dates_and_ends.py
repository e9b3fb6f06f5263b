"""Jobs that repeat, jobs that get stuck, and a host app that is told: with real servers and workers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from outsourced.records import Owner
from outsourced.states import State
from tests.acceptance.conftest import Deploy, needs_worker
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import is_gone, wait_until

pytestmark = [pytest.mark.slow, needs_worker]


@pytest.fixture
def deployment(deploy: Deploy) -> Deployment:
    deployment = deploy()
    deployment.add_worker("near", "-P", "processes", "-c", "2")
    return deployment


def repeat_of(deployment: Deployment, job: UUID) -> UUID | None:
    return next((one.id for one in deployment.backend.jobs(limit=100) if one.repeat_of == job), None)


def test_job_repeats_until_it_is_cancelled(deployment: Deployment) -> None:
    (first,) = deployment.enqueue("chore", 0.0, repeats_after_complete=timedelta(milliseconds=300))
    wait_until(lambda: len(deployment.backend.jobs(state=State.COMPLETED)) >= 4)
    line, last = [first], first
    while (following := repeat_of(deployment, last)) is not None:
        line.append(last := following)
    assert len(line) == len(deployment.backend.jobs(limit=100))
    assert all(len(deployment.ledger.of(job)) == 1 for job in line[:4])

    def ended() -> bool:
        (live,) = [job for job in deployment.backend.jobs(limit=100) if repeat_of(deployment, job.id) is None]
        deployment.backend.cancel(live.id)
        return deployment.state(live.id) is State.CANCELLED

    wait_until(ended)
    deployment.wait_finished()


def test_stuck_task_is_stopped_and_its_worker_works_on(deployment: Deployment, tmp_path: Path) -> None:
    (stuck,) = deployment.enqueue(
        "hold", str(tmp_path / "never"), stuck_after=timedelta(seconds=2), max_losses=0
    )
    wait_until(lambda: deployment.state(stuck) is State.WORKING)
    (run,) = deployment.ledger.of(stuck)
    task = psutil.Process(run.pid)
    wait_until(lambda: deployment.state(stuck) is State.FAILED)
    assert deployment.job(stuck).reason == "lost"
    wait_until(lambda: is_gone(task))

    deployment.enqueue("chore", 0.0, count=4)
    deployment.wait_finished()
    assert [row.reason for row in deployment.backend.history(stuck)][-1] == "lost"


def test_host_app_is_told_of_ends(deployment: Deployment) -> None:
    ends = deployment.folder / "instance" / "ends"
    order = Owner(type="Order", id="7")
    mine = deployment.enqueue("chore", 0.0, count=5, owner=order)
    deployment.enqueue("chore", 0.0, count=5)
    wait_until(lambda: ends.exists() and len(ends.read_text().splitlines()) >= 5)
    assert set(ends.read_text().splitlines()) == {f"{job} completed 0.0" for job in mine}
