"""A long job at the head of a queue holds up nobody but the worker that has it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.acceptance.conftest import needs_worker
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import wait_until

pytestmark = [pytest.mark.slow, needs_worker]

#: seconds in which the second worker must be through
PROMISED = 5.0


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_second_worker_finishes_short_jobs_behind_a_long_one(
    deployment: Deployment, pool: str, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        deployment.add_worker(name, "-P", pool, "-c", "1")
    make_known(deployment)

    gate = tmp_path / "gate"
    (long,) = deployment.enqueue("hold", str(gate))
    short = deployment.enqueue("chore", 0.01, count=100)
    wait_until(lambda: deployment.ledger.of(long) != [])
    began = time.monotonic()
    wait_until(lambda: deployment.unfinished() == 1, PROMISED)
    print(f"{pool}: 100 short jobs done {time.monotonic() - began:.2f} s after the long one began")

    (holder,) = deployment.ledger.of(long)
    runs = [run for run in deployment.ledger.runs() if run.job_id in set(short)]
    assert {run.worker_pid for run in runs} == {other_than(holder.worker_pid, deployment)}
    gate.touch()
    deployment.wait_finished()
    assert set(deployment.ledger.counts().values()) == {1}


def make_known(deployment: Deployment) -> None:
    """Lets both workers run the short task, so that they know how short it is and prefetch it."""
    while len({run.worker_pid for run in deployment.ledger.runs()}) < 2:
        deployment.enqueue("chore", 0.01, count=20)
        deployment.wait_finished()


def other_than(pid: int, deployment: Deployment) -> int:
    (other,) = {worker.pid for worker in deployment.workers} - {pid}
    assert other is not None
    return other
