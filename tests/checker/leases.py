"""Leases along a life: I6 one at a time, I7 only its holder ends it, I10 budgets."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from outsourced.states import LEASED, Event, Reason, State
from tests.checker.lives import Life, Moment, holds_of, moments_of, open_lease
from tests.checker.records import Call, Start, Step, Violation

#: a claim reads the clock for its lease, and then for its row of history, on a machine that may be busy
BETWEEN_READINGS = timedelta(milliseconds=200)

_SETTLING = (Event.COMPLETE, Event.FAIL, Event.REPLACE)
_ENDING = (*_SETTLING, Event.RELEASE, Event.RESCUE, Event.CANCEL, Event.EXPIRE)


def one_lease_at_a_time(
    lives: Sequence[Life], calls: Iterable[Call], lease_ttl: timedelta | None
) -> Iterator[Violation]:
    """I6: leases of a job follow one another, each of one worker; a reclaimed one is still the same.

    Where the TTL is told, none is taken for lapsed before it has: counted from the claim, and from the
    beginning of each call (`renew`) that was told that the lease is good.
    """
    renewed: dict[UUID | None, list[datetime]] = defaultdict(list)
    for call in calls:
        if call.kind == "renew" and call.status == "ok" and call.at:
            renewed[call.lease_id].append(call.at[0])
    claims = Counter(step.lease_id for life in lives for step in life.steps if step.event is Event.CLAIM)
    for life in lives:
        for moment in moments_of(life):
            for fault in _faults_of_lease(moment, claims):
                yield _at("I6", moment.step, fault)
        yield from _row_and_lease(life)
        yield from _taken_too_early(life, renewed, lease_ttl) if lease_ttl else ()


def _faults_of_lease(moment: Moment, claims: Counter[UUID | None]) -> Iterator[str]:
    step, held, last = moment.step, moment.leases.held, moment.leases.last
    if step.event is Event.CLAIM:
        if held:
            yield f"claimed by {step.actor} while {held.actor} holds lease {held.lease_id}"
        if step.lease_id is None or claims[step.lease_id] > 1:
            yield f"lease {step.lease_id} was given out {claims[step.lease_id]} times"
    if step.event is Event.RECLAIM:
        if held or last is None or not _same(step, last):
            yield f"lease {step.lease_id} is reclaimed, which is not the last one of {step.actor}"
        elif moment.leases.ended is None or moment.leases.ended.event is not Event.RESCUE:
            yield f"lease {step.lease_id} is reclaimed, but was not rescued"
    if step.event is Event.BEGIN and (held is None or not _same(step, held)):
        yield f"begun by {step.actor} under lease {step.lease_id}, which is not open"
    attempts = step.attempt - (moment.before.attempt if moment.before else 0)
    if attempts != _begins(step):
        yield f"{step.event} from {step.from_state} added {attempts} attempts"


def _begins(step: Step) -> int:
    """1 where the step begins an attempt; an end reported without a begin implies it."""
    implied = step.event in _SETTLING and step.from_state is State.ASSIGNED
    return int(step.event is Event.BEGIN or implied)


def _row_and_lease(life: Life) -> Iterator[Violation]:
    held = open_lease(life)
    if life.job is None or not life.steps:
        return
    is_leased = life.job.state in LEASED
    if is_leased != (held is not None) or (held and held.lease_id != life.job.lease_id):
        yield _at(
            "I6",
            life.steps[-1],
            f"the row is {life.job.state} under lease {life.job.lease_id}, "
            f"the history under {held.lease_id if held else 'none'}",
        )


def _taken_too_early(
    life: Life, renewed: dict[UUID | None, list[datetime]], lease_ttl: timedelta
) -> Iterator[Violation]:
    for hold in holds_of(life):
        if hold.ended is None or hold.ended.reason != Reason.LAPSED:
            continue
        heard = [at for at in renewed.get(hold.claim.lease_id, ()) if at < hold.ended.at]
        left = max([hold.since, *heard]) + lease_ttl - hold.ended.at
        if left > BETWEEN_READINGS:
            yield _at("I6", hold.ended, f"taken for lapsed, but its lease was good for another {left}")


def only_the_holder_ends_it(lives: Sequence[Life], calls: Sequence[Call]) -> Iterator[Violation]:
    """I7: an outcome bears the lease open just before, from its holder; what was accepted was applied.

    Where settles of a job were noted, its ends by workers are those that were accepted, or unanswered.
    """
    for life in lives:
        for moment in moments_of(life):
            if _ends_lease(moment.step):
                if fault := _fault_of_end(moment.step, moment.leases.held):
                    yield _at("I7", moment.step, fault)
            elif moment.step.event in _SETTLING and moment.step.from_state is not State.WAITING:
                yield _at("I7", moment.step, f"{moment.step.event} from {moment.step.from_state}")
    yield from _against_settles(lives, [call for call in calls if call.kind == "settle"])


def _against_settles(lives: Sequence[Life], settles: Sequence[Call]) -> Iterator[Violation]:
    ends = {(life.job_id, step.lease_id): step for life in lives for step in life.steps if _ends_lease(step)}
    noted = {call.job_id for call in settles}
    meant = {(call.job_id, call.lease_id) for call in settles if call.status != "fail"}
    for call in settles:
        if call.status == "ok" and call.job_id and (call.job_id, call.lease_id) not in ends:
            message = f"an outcome of lease {call.lease_id} was accepted, but ended nothing of it"
            yield Violation(invariant="I7", job_id=call.job_id, message=message)
    for (job_id, lease_id), step in ends.items():
        if job_id in noted and step.actor.startswith("worker:") and (job_id, lease_id) not in meant:
            yield _at("I7", step, f"{step.event} under lease {lease_id}, of which nothing was reported")


def _ends_lease(step: Step) -> bool:
    return step.from_state in LEASED and step.event in _ENDING


def _fault_of_end(step: Step, held: Step | None) -> str | None:
    if held is None:
        return f"{step.event} under lease {step.lease_id}, but none is open"
    if step.lease_id != held.lease_id:
        return f"{step.event} under lease {step.lease_id}, but {held.lease_id} is open"
    if step.actor.startswith("worker:") and step.actor != held.actor:
        return f"{step.event} by {step.actor}, but {held.actor} holds the lease"
    if step.event in _SETTLING and not step.actor.startswith("worker:"):
        return f"{step.event} by {step.actor}, which is no worker"
    return None


def within_budgets(lives: Iterable[Life], starts: Iterable[Start]) -> Iterator[Violation]:
    """I10: failures and losses are counted, and no more than granted; an attempt runs once.

    The budget a retry may bring along itself (`Outcome.max_retries`) is not in the history: workloads
    that use it are not for this check.
    """
    runs = Counter(start.job_id for start in starts)
    by_lease = Counter((start.job_id, start.lease_id) for start in starts if start.lease_id)
    for (job_id, lease_id), times in by_lease.items():
        if times > 1:
            message = f"lease {lease_id} was run {times} times"
            yield Violation(invariant="I10", job_id=job_id, message=message)
    for life in lives:
        yield from _counts(life)
        granted = sum(_grants_run(step) for step in life.steps) + (open_lease(life) is not None)
        if runs[life.job_id] > granted:
            message = f"it ran {runs[life.job_id]} times, its history allows {granted}"
            yield Violation(invariant="I10", job_id=life.job_id, message=message)


def _grants_run(step: Step) -> int:
    """1 where an attempt began, or where a lease ended whose begin may not have been heard of."""
    unheard = step.from_state is State.ASSIGNED and step.event in _ENDING and step.event not in _SETTLING
    return max(_begins(step), int(unheard))


def _counts(life: Life) -> Iterator[Violation]:
    job, failures, losses = life.job, 0, 0
    if job is None or not life.steps:
        return
    for moment in moments_of(life):
        step = moment.step
        failures, losses = _spent(moment, failures, losses)
        if step.to_state is State.RETRYING and job.max_retries is not None and failures > job.max_retries:
            yield _at("I10", step, f"to be tried again after {failures} failures of {job.max_retries}")
        if step.to_state is State.RETRYING and losses > job.max_losses:
            yield _at("I10", step, f"to be tried again after {losses} losses of {job.max_losses}")
    if (job.failures, job.losses) != (failures, losses):
        counted = f"the row counts {job.failures} failures and {job.losses} losses"
        yield _at("I10", life.steps[-1], f"{counted}, the history {failures} and {losses}")


def _spent(moment: Moment, failures: int, losses: int) -> tuple[int, int]:
    """Both counts after the step."""
    step, ended = moment.step, moment.leases.ended
    if step.event is Event.RETRY:
        return 0, 0
    if step.event is Event.FAIL and step.from_state in LEASED:
        return failures + 1, losses
    if step.event is Event.RESCUE and step.from_state is State.WORKING:
        return failures, losses + 1
    if step.event is Event.RECLAIM and ended and ended.from_state is State.WORKING:
        return failures, losses - 1
    return failures, losses


def _same(step: Step, claim: Step) -> bool:
    return (step.lease_id, step.actor) == (claim.lease_id, claim.actor)


def _at(invariant: str, step: Step, message: str) -> Violation:
    return Violation(invariant=invariant, job_id=step.job_id, message=f"step {step.seq}: {message}")
