"""Real workers of every pool against a real server, on each database."""

from __future__ import annotations

import io
import json
from pathlib import Path
from uuid import UUID

import pytest

from outsourced.records import NewFile, Progress
from outsourced.states import State
from tests.acceptance.conftest import needs_worker
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import wait_until

pytestmark = [pytest.mark.slow, needs_worker]

POOLS = {"solo": 1, "threads": 2, "processes": 2}


@pytest.mark.parametrize("pool", POOLS)
def test_worker_runs_jobs_tries_again_and_carries_files(deployment: Deployment, pool: str) -> None:
    content = bytes(range(256)) * 2000
    attachment = NewFile(open=lambda: io.BytesIO(content), filename="all.bin")
    chores = deployment.enqueue("chore", 0.001, count=50)
    (copy,) = deployment.enqueue("copy", attachment=attachment)
    (stumble,) = deployment.enqueue("stumble")
    deployment.add_worker("near", "-P", pool, "-c", str(POOLS[pool]))
    deployment.wait_finished()

    assert {deployment.job(chore).result for chore in chores} == {"0.001"}
    assert deployment.ledger.counts() == {**dict.fromkeys(chores, 1), copy: 1, stumble: 2}
    with deployment.backend.open_file(copy, "copy") as file:
        assert file.read() == content
    found = deployment.job(stumble)
    assert (found.state, found.attempt, found.failures, found.result) == (State.COMPLETED, 2, 1, "2")


@pytest.mark.parametrize("pool", POOLS)
def test_task_tells_how_far_it_is(deployment: Deployment, pool: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    (job,) = deployment.enqueue("advance", str(gate))
    deployment.add_worker("near", "-P", pool, "-c", str(POOLS[pool]))
    wait_until(lambda: deployment.job(job).progress is not None)
    told = Progress(state="PROGRESS", meta='{"current":1000,"total":1000}')
    wait_until(lambda: deployment.job(job).progress == told)
    gate.touch()
    deployment.wait_finished()
    found = deployment.job(job)
    assert (found.result, found.progress) == ('"there"', None)


def test_burst_works_off_what_there_is_and_ends(deployment: Deployment) -> None:
    deployment.enqueue("chore", 0.001, count=20)
    worker = deployment.add_worker("near", "-P", "threads", "--burst")
    deployment.wait_finished()
    assert worker.wait_ended() == 0


@pytest.mark.parametrize("pool", POOLS)
def test_task_enqueues_jobs_of_its_own(deployment: Deployment, pool: str) -> None:
    (parent,) = deployment.enqueue("split", [0.001, 0.002])
    deployment.add_worker("near", "-P", pool, "-c", str(POOLS[pool]))
    deployment.wait_finished()

    told = [line.split() for line in json.loads(deployment.job(parent).result or "[]")]
    children = [UUID(job_id) for job_id, _ in told]
    assert len(set(children)) == 4
    assert {state for _, state in told} <= {"PENDING", "RECEIVED", "STARTED", "SUCCESS"}
    assert {deployment.state(child) for child in children} == {State.COMPLETED}
    assert deployment.backend.history(children[0])[0].actor == f"task:{parent}"
