"""Repeats: a new job in the moment its job ends, its dates moved on, in its place of a bounded queue."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from outsourced.errors import KeyTaken, QueueFull
from outsourced.records import CommandKind, Job, NewFile, OutcomeKind, Owner, SettledStatus
from outsourced.sql import maintenance, queues, retention
from outsourced.sql.backend import SqlBackend
from outsourced.states import Event, State
from outsourced.storage import LocalStorage
from tests.sql.conftest import FAILURE, Site, held, new_job, pass_time, state_of
from tests.sql.interleaving import Aside, until, waiting

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def repeat_of(backend: SqlBackend, job_id: object) -> Job | None:
    found = [job for job in backend.jobs(limit=100) if job.repeat_of == job_id]
    assert len(found) <= 1
    return backend.job(found[0].id) if found else None


def run(near: Site, kind: OutcomeKind = OutcomeKind.COMPLETED) -> None:
    (lease,) = near.claim()
    near.settle(lease, kind, error=FAILURE)


def start_of(backend: SqlBackend) -> datetime:
    with backend.database.connect() as connection:
        return backend.database.now(connection) + MINUTE


def test_complete_repeats_the_job_with_its_dates_moved_on(backend: SqlBackend, near: Site) -> None:
    start = start_of(backend)
    job = new_job(
        runs_at=start,
        stuck_after=MINUTE,
        expires_at=start + 10 * MINUTE,
        repeats_after_fail=30 * MINUTE,
        repeats_after_complete=HOUR,
        priority=3,
        max_retries=7,
        owner=Owner(type="Order", id="7"),
    )
    backend.enqueue([job])
    pass_time(backend, 61)
    maintenance.promote(backend)
    run(near)

    repeat = repeat_of(backend, job.id)
    assert repeat is not None
    assert (repeat.state, repeat.runs_at) == (State.SCHEDULED, start + HOUR)
    assert repeat.gets_stuck_at == start + HOUR + MINUTE
    assert repeat.expires_at == start + HOUR + 10 * MINUTE
    assert repeat.repeats_after_fail_at == start + HOUR + 30 * MINUTE
    assert repeat.repeats_after_complete_at == start + 2 * HOUR
    assert (repeat.payload, repeat.owner, repeat.priority, repeat.max_retries) == (
        job.payload,
        job.owner,
        3,
        7,
    )
    (first,) = backend.history(repeat.id)
    assert (first.event, first.actor, first.reason) == (Event.ENQUEUE, "worker:near", "repeat")


def test_repeats_go_on(backend: SqlBackend, near: Site) -> None:
    job_id = new_job(repeats_after_complete=HOUR)
    backend.enqueue([job_id])
    last, starts = job_id.id, []
    for _ in range(3):
        run(near)
        repeat = repeat_of(backend, last)
        assert repeat is not None
        starts.append(repeat.runs_at)
        last = repeat.id
        pass_time(backend, HOUR.total_seconds())
        maintenance.promote(backend)
    assert starts[1] - starts[0] == starts[2] - starts[1] == HOUR


def test_a_repeat_whose_time_has_passed_runs_at_once_and_once(backend: SqlBackend, near: Site) -> None:
    job = new_job(repeats_after_complete=MINUTE)
    backend.enqueue([job])
    pass_time(backend, 600)
    run(near)

    repeat = repeat_of(backend, job.id)
    assert repeat is not None
    assert repeat.state is State.UNASSIGNED
    assert repeat.repeats_after_complete_at == repeat.runs_at + MINUTE


@pytest.mark.parametrize(
    ("options", "kind", "repeats"),
    [
        ({"repeats_after_complete": HOUR}, OutcomeKind.COMPLETED, True),
        ({"repeats_after_complete": HOUR}, OutcomeKind.IGNORED, True),
        ({"repeats_after_complete": HOUR}, OutcomeKind.FAILED, False),
        ({"repeats_after_fail": HOUR}, OutcomeKind.FAILED, True),
        ({"repeats_after_fail": HOUR}, OutcomeKind.REJECTED, True),
        ({"repeats_after_fail": HOUR}, OutcomeKind.RETRY, False),
        ({"repeats_after_fail": HOUR, "max_retries": 0}, OutcomeKind.RETRY, True),
        ({"repeats_after_fail": HOUR}, OutcomeKind.RELEASED, False),
        ({"repeats_after_fail": HOUR}, OutcomeKind.LOST, False),
        ({"repeats_after_fail": HOUR, "max_losses": 0}, OutcomeKind.LOST, True),
        ({"repeats_after_fail": HOUR}, OutcomeKind.COMPLETED, False),
    ],
)
def test_which_ends_repeat(
    backend: SqlBackend, near: Site, options: dict[str, Any], kind: OutcomeKind, repeats: bool
) -> None:
    job = new_job(**options)
    backend.enqueue([job])
    run(near, kind)
    assert (repeat_of(backend, job.id) is not None) == repeats


def test_expire_repeats_after_failure_and_cancel_ends_the_line(backend: SqlBackend, near: Site) -> None:
    expiring, cancelled = (
        new_job(expires_in=MINUTE, repeats_after_fail=HOUR, repeats_after_complete=HOUR) for _ in range(2)
    )
    backend.enqueue([expiring, cancelled])
    backend.cancel(cancelled.id)
    pass_time(backend, 61)
    assert maintenance.expire(backend) == 1

    repeat = repeat_of(backend, expiring.id)
    assert repeat is not None
    assert repeat.expires_at is not None  # both were counted from the call, the clock read twice
    assert abs(repeat.expires_at - repeat.runs_at - MINUTE) < timedelta(milliseconds=5)
    assert repeat_of(backend, cancelled.id) is None


def test_rescue_for_the_last_time_repeats(backend: SqlBackend, near: Site) -> None:
    job = new_job(max_losses=0, repeats_after_fail=HOUR)
    backend.enqueue([job])
    (lease,) = near.claim()
    near.begin(lease)
    pass_time(backend, lease.ttl + 1)
    assert maintenance.rescue(backend) == 1
    assert state_of(backend, job.id) is State.FAILED
    assert repeat_of(backend, job.id) is not None


def test_a_person_s_retry_of_a_repeated_job_repeats_nothing_more(backend: SqlBackend, near: Site) -> None:
    job = new_job(repeats_after_complete=HOUR)
    backend.enqueue([job])
    run(near)
    backend.requeue(job.id)
    run(near)
    assert repeat_of(backend, job.id) is not None
    assert len(backend.jobs()) == 2


def test_the_same_outcome_again_repeats_once(backend: SqlBackend, near: Site) -> None:
    job = new_job(repeats_after_complete=HOUR)
    backend.enqueue([job])
    (lease,) = near.claim()
    said = [near.settle(lease, OutcomeKind.COMPLETED).settled[0].status for _ in range(2)]
    assert said == [SettledStatus.RECORDED, SettledStatus.REPLAYED]
    assert len(backend.jobs()) == 2


def test_a_late_outcome_repeats_too(backend: SqlBackend, near: Site) -> None:
    job = new_job(repeats_after_complete=HOUR)
    backend.enqueue([job])
    (lease,) = near.claim()
    pass_time(backend, lease.ttl + 1)
    maintenance.rescue(backend)
    assert near.settle(lease, OutcomeKind.COMPLETED).settled[0].status is SettledStatus.RECORDED
    assert repeat_of(backend, job.id) is not None


def test_repeat_takes_the_place_and_the_key_of_its_job(backend: SqlBackend, near: Site) -> None:
    jobs = [new_job(queue="small", repeats_after_complete=HOUR, unique_key=f"k{n}") for n in range(3)]
    backend.enqueue(jobs)
    for lease in near.claim(slots=3):
        near.settle(lease, OutcomeKind.COMPLETED)
    with pytest.raises(QueueFull):
        backend.enqueue([new_job(queue="small")])
    with pytest.raises(KeyTaken):
        backend.enqueue([new_job(unique_key="k0")])
    assert {job.state for job in backend.jobs(queue="small", limit=3)} == {State.SCHEDULED}


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_limit_set_while_a_job_ends_counts_its_repeat(backend: SqlBackend, near: Site) -> None:
    """The change of capacity waits for the end of the job, whose repeat still knew an unlimited queue."""
    backend.enqueue([new_job(repeats_after_complete=HOUR)])
    (lease,) = near.claim()
    row = {"id": lease.job_id, "lease_id": lease.id, "began_ago": 0.0, "result": None, "reason": None}

    def end_while_limited(connection: Connection) -> Aside[bool]:
        batch = backend.database.batch(connection)
        list(
            backend.database.dialect.move(batch, "complete", [row], {"worker_id": 1, "actor": "worker:near"})
        )
        change = Aside(lambda: queues.change(backend, "plain", capacity=1, actor="admin:test"))
        until(lambda: len(waiting(backend.database)) == 1)
        return change

    assert backend.database.write(end_while_limited).result()
    with pytest.raises(QueueFull, match="0 of 1 places free"):
        backend.enqueue([new_job()])


def test_repeats_share_the_attachment_until_the_last_is_forgotten(
    backend: SqlBackend, near: Site, tmp_path: Path
) -> None:
    backend.storage = LocalStorage(tmp_path / "files")
    file = NewFile(open=lambda: io.BytesIO(b"data"), filename="in.bin")
    job = new_job(attachment=file, repeats_after_complete=MINUTE)
    backend.enqueue([job])
    run(near)
    pass_time(backend, retention.RETENTION.completed.total_seconds() + 1)
    assert retention.prune(backend)["completed jobs"] == 1
    maintenance.promote(backend)

    (lease,) = near.claim()
    stored, key = backend.attachment(near.identity, lease.id)
    assert stored.name == "in.bin"
    with backend.storage.open(key) as stream:
        assert stream.read() == b"data"
    backend.cancel(lease.job_id)
    near.settle(lease, OutcomeKind.CANCELLED)
    pass_time(backend, retention.RETENTION.completed.total_seconds() + 1)
    assert retention.prune(backend)["completed jobs"] == 1
    assert not backend.storage.path(key).exists()


def test_a_stuck_job_is_taken_from_its_worker_whatever_it_says(backend: SqlBackend, near: Site) -> None:
    job = new_job(stuck_after=90 * MINUTE)
    backend.enqueue([job])
    (lease,) = near.claim()
    near.begin(lease)
    for _ in range(3):
        pass_time(backend, 1790)
        assert not near.say(held=(held(lease),)).commands
        assert maintenance.rescue(backend) == 0
    pass_time(backend, 31)
    assert maintenance.rescue(backend) == 1

    assert state_of(backend, job.id) is State.RETRYING
    (command,) = near.say(held=(held(lease),)).commands
    assert (command.kind, command.reason) == (CommandKind.LOST, "rescue (stuck)")
    assert near.settle(lease, OutcomeKind.COMPLETED).settled[0].status is SettledStatus.REFUSED


def test_a_further_attempt_has_the_same_time_until_it_is_stuck(backend: SqlBackend, near: Site) -> None:
    job = new_job(stuck_after=MINUTE, max_losses=1)
    backend.enqueue([job])
    for state in (State.RETRYING, State.FAILED):
        maintenance.promote(backend)
        (lease,) = near.claim()
        near.begin(lease)
        pass_time(backend, 50)
        near.say(held=(held(lease),))
        assert maintenance.rescue(backend) == 0
        pass_time(backend, 11)
        assert maintenance.rescue(backend) == 1
        assert state_of(backend, job.id) is state
