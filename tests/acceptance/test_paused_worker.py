"""A worker that freezes past its lease, as a laptop's lid closes, and wakes up in another world."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from outsourced.states import Event, State
from tests.acceptance.conftest import needs_worker
from tests.acceptance.deployment import Deployment
from tests.acceptance.process import Process
from tests.acceptance.waiting import wait_until

pytestmark = [pytest.mark.slow, needs_worker]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The held job ends when this file is there."""
    return tmp_path / "gate"


def begin_and_freeze(deployment: Deployment, gate: Path) -> tuple[UUID, Process]:
    """A job that has begun, and its worker, frozen until after the lease was taken back."""
    (job,) = deployment.enqueue("hold", str(gate))
    sleeper = deployment.add_worker("sleeper", "-P", "processes", "-c", "1")
    wait_until(lambda: deployment.state(job) is State.WORKING)
    sleeper.freeze()
    wait_until(lambda: Event.RESCUE in events(deployment, job))
    return job, sleeper


def events(deployment: Deployment, job: UUID) -> list[Event]:
    return [row.event for row in deployment.backend.history(job)]


def test_outcome_of_a_paused_worker_is_refused_after_another_has_the_job(
    deployment: Deployment, gate: Path
) -> None:
    job, sleeper = begin_and_freeze(deployment, gate)
    deployment.add_worker("other", "-P", "threads", "-c", "1")
    wait_until(lambda: len(deployment.ledger.of(job)) == 2)
    gate.touch()
    deployment.wait_finished()
    before = deployment.backend.history(job)
    sleeper.thaw()
    wait_until(lambda: sleeper.says("outcome refused") or sleeper.says("leases have ended at the server"))

    late, counted = deployment.ledger.of(job)
    assert deployment.backend.history(job) == before
    assert [(row.event, row.lease_id) for row in before if row.to_state in ("completed", "failed")] == [
        (Event.COMPLETE, counted.lease_id)
    ]
    assert late.lease_id != counted.lease_id


def test_outcome_of_a_paused_worker_counts_where_nobody_else_has_the_job(
    deployment: Deployment, gate: Path
) -> None:
    job, sleeper = begin_and_freeze(deployment, gate)
    gate.touch()
    sleeper.thaw()
    deployment.wait_finished()

    (run,) = deployment.ledger.of(job)
    history = deployment.backend.history(job)
    assert [row.event for row in history if row.lease_id == run.lease_id] == [
        Event.CLAIM,
        Event.BEGIN,
        Event.RESCUE,
        Event.RECLAIM,
        Event.COMPLETE,
    ]
    assert deployment.job(job).losses == 0
