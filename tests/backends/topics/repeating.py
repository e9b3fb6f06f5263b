"""Dates after the start: jobs that get stuck, and lines of jobs that repeat."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import pytest

from outsourced.records import CommandKind, Job, NewFile, OutcomeKind, Owner, SettledStatus
from outsourced.states import Event, Reason, State
from tests.backends.stage import Site, Stage, begun, enqueue, job_of, leased, state_of

K = OutcomeKind
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OWNER = Owner(type="Order", id="7")


def line_of(stage: Stage) -> list[Job]:
    """The jobs of the one line there is, oldest first."""
    return list(stage.owners.jobs_of(OWNER))[::-1]


@pytest.mark.parametrize(("kind", "after"), [(K.COMPLETED, DAY), (K.FAILED, HOUR), (K.REJECTED, HOUR)])
def test_job_that_ends_is_repeated(stage: Stage, near: Site, kind: OutcomeKind, after: timedelta) -> None:
    lease = leased(stage, near, owner=OWNER, priority=3, repeats_after_fail=HOUR, repeats_after_complete=DAY)
    near.settle(lease, kind)
    first, repeat = line_of(stage)
    assert (first.repeat_of, repeat.repeat_of) == (None, first.id)
    assert repeat.runs_at - first.runs_at == after
    assert (repeat.state, repeat.attempt, repeat.priority) == (State.SCHEDULED, 0, 3)
    (row,) = stage.producer.history(repeat.id)
    assert (row.event, row.actor, row.reason) == (Event.ENQUEUE, "worker:near", Reason.REPEAT)


def test_repeat_keeps_the_rhythm(stage: Stage, near: Site) -> None:
    enqueue(stage, owner=OWNER, expires_in=HOUR, stuck_after=timedelta(minutes=5), repeats_after_complete=DAY)
    for _ in range(2):
        (lease,) = near.claim()
        near.settle(lease, K.COMPLETED)
        stage.pass_time(DAY.total_seconds())
        stage.tick()
    first, second, third = line_of(stage)
    for before, after in ((first, second), (second, third)):
        for name in ("runs_at", "repeats_after_complete_at"):
            assert getattr(after, name) - getattr(before, name) == DAY
        assert before.expires_at is not None
        assert after.expires_at is not None
        # expiry is counted from the call, the start from its arrival
        assert after.expires_at - after.runs_at == pytest.approx(HOUR, abs=timedelta(seconds=5))


def test_repeat_that_would_be_late_runs_at_once(stage: Stage, near: Site) -> None:
    lease = begun(stage, near, owner=OWNER, repeats_after_complete=HOUR)
    stage.pass_time(5 * HOUR.total_seconds())
    near.settle(lease, K.COMPLETED)
    assert [job.state for job in line_of(stage)] == [State.COMPLETED, State.UNASSIGNED]


def test_job_that_expires_is_repeated(stage: Stage) -> None:
    enqueue(stage, owner=OWNER, expires_in=timedelta(seconds=30), repeats_after_fail=HOUR)
    stage.pass_time(31)
    stage.tick()
    assert [job.state for job in line_of(stage)] == [State.EXPIRED, State.SCHEDULED]


def test_cancel_ends_the_line(stage: Stage) -> None:
    (job_id,) = enqueue(stage, owner=OWNER, repeats_after_fail=HOUR, repeats_after_complete=HOUR)
    stage.producer.cancel(job_id)
    assert len(line_of(stage)) == 1


def test_job_tried_again_is_not_repeated_twice(stage: Stage, near: Site) -> None:
    lease = leased(stage, near, owner=OWNER, repeats_after_fail=HOUR)
    near.settle(lease, K.FAILED)
    stage.retry(lease.job_id)
    (again,) = near.claim()
    near.settle(again, K.FAILED)
    assert len(line_of(stage)) == 2


def test_repeat_takes_the_place_and_the_key_of_its_job(stage: Stage, near: Site) -> None:
    enqueue(stage, queue="small", owner=OWNER, unique_key="k", repeats_after_complete=HOUR)
    enqueue(stage, 2, queue="small")
    (lease,) = near.claim(1)
    near.settle(lease, K.COMPLETED)
    assert [job.queue for job in line_of(stage)] == ["small", "small"]


def test_repeat_has_the_attachment_of_its_job(stage: Stage, near: Site, tmp_path: Path) -> None:
    file = NewFile(open=lambda: io.BytesIO(b"content"), filename="in")
    lease = leased(stage, near, attachment=file, repeats_after_complete=timedelta(seconds=1))
    near.settle(lease, K.COMPLETED)
    stage.pass_time(2)
    stage.tick()
    (again,) = near.claim()
    near.consumer.fetch_attachment(again, tmp_path / "in")
    assert (tmp_path / "in").read_bytes() == b"content"


def test_stuck_job_is_taken_from_its_worker(stage: Stage, near: Site) -> None:
    lease = begun(stage, near, stuck_after=timedelta(seconds=30))
    job = job_of(stage, lease.job_id)
    assert job.begun_at is not None
    assert job.gets_stuck_at == job.begun_at + timedelta(seconds=30)
    stage.pass_time(31)
    stage.tick()
    job = job_of(stage, lease.job_id)
    assert (job.state, job.losses, job.reason) == (State.RETRYING, 1, Reason.STUCK)
    (command,) = near.keep(lease).commands
    assert (command.kind, command.reason) == (CommandKind.LOST, "rescue (stuck)")
    settled = near.settle(lease, K.COMPLETED)
    assert (settled.status, settled.code) == (SettledStatus.REFUSED, "lease_lost")


def test_job_that_has_not_begun_is_not_stuck(stage: Stage, near: Site) -> None:
    lease = leased(stage, near, stuck_after=timedelta(seconds=30))
    stage.pass_time(31)
    stage.tick()
    assert state_of(stage, lease.job_id) is State.ASSIGNED
