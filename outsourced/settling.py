"""What an outcome means for its job, whichever store keeps it: event, reason, whether it came before."""

from __future__ import annotations

from typing import Protocol

from outsourced.records import Outcome, OutcomeKind
from outsourced.states import Event, Reason, State

#: what happens to the job
EVENTS: dict[OutcomeKind, Event] = {
    OutcomeKind.COMPLETED: Event.COMPLETE,
    OutcomeKind.IGNORED: Event.COMPLETE,
    OutcomeKind.FAILED: Event.FAIL,
    OutcomeKind.RETRY: Event.FAIL,
    OutcomeKind.REJECTED: Event.FAIL,
    OutcomeKind.REPLACED: Event.REPLACE,
    OutcomeKind.RELEASED: Event.RELEASE,
    OutcomeKind.CANCELLED: Event.CANCEL,
    OutcomeKind.EXPIRED: Event.EXPIRE,
    OutcomeKind.LOST: Event.RESCUE,
}

_REASONS = {OutcomeKind.IGNORED: Reason.IGNORED, OutcomeKind.REJECTED: Reason.REJECTED}


class Ending(Protocol):
    """The row of history that ended a lease."""

    @property
    def event(self) -> str: ...

    @property
    def to_state(self) -> str: ...

    @property
    def actor(self) -> str: ...

    @property
    def reason(self) -> str | None: ...


def reason_of(outcome: Outcome) -> str | None:
    """The reason that history gives: the worker's own, or the kind where that says more than the event."""
    return outcome.reason or _REASONS.get(outcome.kind)


def is_same(outcome: Outcome, ending: Ending, *, worker: str) -> bool:
    """Whether this worker's outcome is what ended the lease: a report that came before, and comes again."""
    if ending.event != EVENTS[outcome.kind] or ending.actor != f"worker:{worker}":
        return False
    match outcome.kind:
        case OutcomeKind.FAILED:
            return ending.to_state == State.FAILED and ending.reason == reason_of(outcome)
        case OutcomeKind.REJECTED:
            return ending.reason == Reason.REJECTED
        case OutcomeKind.RETRY:
            return ending.to_state != State.FAILED or ending.reason == Reason.RETRIES_EXHAUSTED
        case _:
            return (ending.reason == Reason.IGNORED) == (outcome.kind is OutcomeKind.IGNORED)


def told(ending: Ending) -> str:
    """How the lease ended, for people: `rescue (lapsed)`."""
    return f"{ending.event} ({ending.reason})" if ending.reason else str(ending.event)


def unsettled(outcome: Outcome) -> str:
    """Why a leased job did not take this outcome."""
    return f"a job in this state cannot end as {outcome.kind}"
