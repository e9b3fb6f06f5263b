"""What clients were told against what there is: I1 no loss, I2 nothing from nowhere, I3 keys, I15 cancel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from uuid import UUID

from outsourced.states import TERMINAL, UNLEASED, Event, State
from tests.checker.lives import Life
from tests.checker.records import Call, Records, Start, Violation


def enqueues(calls: Iterable[Call], *statuses: str) -> set[UUID]:
    """The ids of the jobs whose enqueueing was answered in one of these ways."""
    return {
        call.job_id
        for call in calls
        if call.kind == "enqueue" and call.job_id is not None and call.status in statuses
    }


def lost(records: Records, calls: Sequence[Call]) -> set[UUID]:
    """The acknowledged jobs of which there is no row."""
    return enqueues(calls, "ok") - {job.id for job in records.jobs}


def unexpected(records: Records, calls: Sequence[Call]) -> set[UUID]:
    """The jobs nobody enqueued, or whose producers were surely refused; none where no enqueue was noted.

    What repeats a job that there is was meant by whoever enqueued that one.
    """
    meant = enqueues(calls, "ok", "info")
    if not meant and not enqueues(calls, "fail"):
        return set()
    known = {job.id for job in records.jobs}
    return {job.id for job in records.jobs if job.repeat_of not in known} - meant


def no_loss(
    records: Records, lives: Sequence[Life], calls: Sequence[Call], starts: Sequence[Start], *, quiesced: bool
) -> Iterator[Violation]:
    """I1: an acknowledged job is there; when all is quiet it has ended, with a reason, or is due later.

    Where a ledger was kept (`starts` is not empty), a completed job has a line in it.
    """
    for job_id in lost(records, calls):
        yield Violation(invariant="I1", job_id=job_id, message="its enqueue was acknowledged, but it is gone")
    ran = {start.job_id for start in starts}
    for life in lives:
        if quiesced and (fault := _unfinished(life, records.at)):
            yield Violation(invariant="I1", job_id=life.job_id, message=fault)
        if starts and life.job and life.job.state is State.COMPLETED and life.job_id not in ran:
            yield Violation(invariant="I1", job_id=life.job_id, message="completed, but it never ran")


def _unfinished(life: Life, now: datetime) -> str | None:
    job = life.job
    if job is None or not life.steps:
        return None  # I5
    # a test may have moved the database's clock on: then history is ahead of `now`
    if job.state is State.SCHEDULED and job.runs_at > max(now, life.steps[-1].at):
        return None
    if job.state not in TERMINAL:
        return f"all is quiet, but it is {job.state}"
    if job.state is State.FAILED and not (job.reason or any(step.failed for step in life.steps)):
        return "it failed without a reason"
    return None


def nothing_from_nowhere(records: Records, calls: Sequence[Call]) -> Iterator[Violation]:
    """I2: each job was enqueued by somebody who was not told that it was not."""
    refused = enqueues(calls, "fail")
    for job_id in unexpected(records, calls):
        why = "its producer was refused or rolled back" if job_id in refused else "nobody enqueued it"
        yield Violation(invariant="I2", job_id=job_id, message=why)


def one_job_a_key(records: Records, calls: Sequence[Call]) -> Iterator[Violation]:
    """I3: the same key gives the same job, however often its call was repeated."""
    known = {job.id for job in records.jobs}
    told: dict[str, set[UUID]] = defaultdict(set)
    for call in calls:
        if call.kind != "enqueue" or call.key is None or call.job_id is None:
            continue
        # an unanswered call may have made a job: one that there is counts like an answer
        if call.status == "ok" or call.job_id in known:
            told[call.key].add(call.job_id)
    for key, jobs in told.items():
        if len(jobs) > 1:
            message = f"key {key!r} made {len(jobs)} jobs: {', '.join(sorted(map(str, jobs)))}"
            yield Violation(invariant="I3", job_id=None, message=message)


def same_claim_same_leases(calls: Iterable[Call]) -> Iterator[Violation]:
    """I17: a claim asked for again, by the same id, is answered with the leases it was given first.

    One call (`claim`) for each lease of an answer; calls of one answer share their interval.
    """
    answers: dict[str, dict[tuple[datetime, datetime] | None, set[UUID | None]]] = defaultdict(dict)
    for call in calls:
        if call.kind == "claim" and call.status == "ok" and call.key:
            answers[call.key].setdefault(call.at, set()).add(call.lease_id)
    for key, given in answers.items():
        first = given[min(given, key=lambda at: at or ())]
        for leases in given.values():
            if more := leases - first:
                message = f"claim {key} was answered with {len(more)} other leases when asked again"
                yield Violation(invariant="I17", job_id=None, message=message)


def cancelled_stays_so(
    lives: Sequence[Life], calls: Sequence[Call], *, quiesced: bool
) -> Iterator[Violation]:
    """I15: what was cancelled is never claimed again; what was asked to stop never waits again.

    Only a person's retry, which is a new life, undoes a cancel.
    """
    answered: dict[UUID, list[datetime]] = defaultdict(list)
    for call in calls:
        if call.kind == "cancel" and call.status == "ok" and call.job_id and call.at:
            answered[call.job_id].append(call.at[1])
    for life in lives:
        yield from _claims_after(life, sorted(answered.get(life.job_id, ())))
        yield from _ways_back(life)
        job = life.job
        if quiesced and job and job.cancel_requested_at and job.state not in TERMINAL:
            message = f"it was cancelled, all is quiet, and it is {job.state}"
            yield Violation(invariant="I15", job_id=life.job_id, message=message)


def _claims_after(life: Life, cancels: list[datetime]) -> Iterator[Violation]:
    for cancelled_at in cancels:
        for step in life.steps:
            if step.event is Event.RETRY and step.at >= cancelled_at:
                break
            if step.event is Event.CLAIM and step.at > cancelled_at:
                message = f"claimed at {step.at}, after its cancel was answered at {cancelled_at}"
                yield Violation(invariant="I15", job_id=life.job_id, message=message)
                return


def _ways_back(life: Life) -> Iterator[Violation]:
    """Steps back into waiting after the request to stop that the row still knows."""
    asked_at = life.job.cancel_requested_at if life.job else None
    if asked_at is None:
        return
    for step in life.steps:
        if step.at > asked_at and step.to_state in UNLEASED and step.event is not Event.RETRY:
            message = f"asked to stop at {asked_at}, but {step.event} led to {step.to_state}"
            yield Violation(invariant="I15", job_id=life.job_id, message=message)
