"""The life of a job: its states, the events that move it, and every edge between them.

This module is the only place that knows the edges. `next_state` is the oracle that each SQL
statement is compared with in the tests; docs/states.md is drawn from `TRANSITIONS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from outsourced.errors import InvalidTransition


class State(StrEnum):
    """Where a job stands. One column, explicit, implied by nothing else."""

    WAITING = "waiting"
    SCHEDULED = "scheduled"
    UNASSIGNED = "unassigned"
    ASSIGNED = "assigned"
    WORKING = "working"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What happens to a job: the verbs of Protocol, URL, CLI, log and history."""

    ENQUEUE = "enqueue"
    ADMIT = "admit"
    PROMOTE = "promote"
    CLAIM = "claim"
    BEGIN = "begin"
    COMPLETE = "complete"
    FAIL = "fail"
    REPLACE = "replace"
    RELEASE = "release"
    RESCUE = "rescue"
    RECLAIM = "reclaim"
    CANCEL = "cancel"
    EXPIRE = "expire"
    RETRY = "retry"


class Reason(StrEnum):
    """Why an event happened or ended where it did, where the event alone does not tell."""

    UPSTREAM = "upstream"
    LOST = "lost"
    LAPSED = "lapsed"
    LOCKED = "locked"
    FIRED = "fired"
    DESTROYED = "destroyed"
    REJECTED = "rejected"
    IGNORED = "ignored"
    RETRIES_EXHAUSTED = "retries_exhausted"
    STUCK = "stuck"
    REPEAT = "repeat"
    NOT_NEEDED = "not_needed"


S, E = State, Event

TERMINAL = frozenset({S.COMPLETED, S.FAILED, S.EXPIRED, S.CANCELLED})
LIVE = frozenset(S) - TERMINAL
LEASED = frozenset({S.ASSIGNED, S.WORKING})
UNLEASED = LIVE - LEASED
#: what a job may repeat after: a cancelled one does not
REPEATABLE = TERMINAL - {S.CANCELLED}
DUE_LATER = frozenset({S.SCHEDULED, S.RETRYING})

#: (state before, event) → every state it may lead to; `next_state` says which one when.
TRANSITIONS: dict[tuple[State | None, Event], frozenset[State]] = {
    (None, E.ENQUEUE): frozenset({S.WAITING, S.SCHEDULED, S.UNASSIGNED}),
    (S.WAITING, E.ADMIT): frozenset({S.UNASSIGNED, S.SCHEDULED}),
    (S.WAITING, E.FAIL): frozenset({S.FAILED}),
    (S.SCHEDULED, E.PROMOTE): frozenset({S.UNASSIGNED}),
    (S.RETRYING, E.PROMOTE): frozenset({S.UNASSIGNED}),
    (S.UNASSIGNED, E.CLAIM): frozenset({S.ASSIGNED}),
    (S.ASSIGNED, E.BEGIN): frozenset({S.WORKING}),
    (S.ASSIGNED, E.COMPLETE): frozenset({S.COMPLETED}),
    (S.WORKING, E.COMPLETE): frozenset({S.COMPLETED}),
    (S.ASSIGNED, E.FAIL): frozenset({S.RETRYING, S.FAILED, S.CANCELLED, S.EXPIRED}),
    (S.WORKING, E.FAIL): frozenset({S.RETRYING, S.FAILED, S.CANCELLED, S.EXPIRED}),
    (S.ASSIGNED, E.REPLACE): frozenset({S.WAITING, S.CANCELLED, S.FAILED}),
    (S.WORKING, E.REPLACE): frozenset({S.WAITING, S.CANCELLED, S.FAILED}),
    (S.ASSIGNED, E.RELEASE): frozenset({S.UNASSIGNED, S.CANCELLED}),
    (S.WORKING, E.RELEASE): frozenset({S.UNASSIGNED, S.CANCELLED}),
    (S.ASSIGNED, E.RESCUE): frozenset({S.UNASSIGNED, S.CANCELLED}),
    (S.WORKING, E.RESCUE): frozenset({S.RETRYING, S.FAILED, S.CANCELLED}),
    (S.UNASSIGNED, E.RECLAIM): frozenset({S.ASSIGNED, S.WORKING}),
    (S.RETRYING, E.RECLAIM): frozenset({S.WORKING}),
    (S.ASSIGNED, E.EXPIRE): frozenset({S.EXPIRED}),
    **{(state, E.EXPIRE): frozenset({S.EXPIRED}) for state in UNLEASED},
    **{(state, E.CANCEL): frozenset({S.CANCELLED}) for state in LIVE},
    # waiting: it comes after the job that a person retries
    **{(state, E.RETRY): frozenset({S.UNASSIGNED, S.WAITING}) for state in TERMINAL},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What, besides state and event, decides where a job goes."""

    due: bool = True  #: its `runs_at` has come
    blocked: bool = False  #: it waits for other jobs or for its lane
    wants_retry: bool = False  #: the worker's wish at a failure
    retries_left: bool = True  #: `failures` is below `max_retries`
    losses_left: bool = True  #: `losses` is below `max_losses`
    expires_before_retry: bool = False  #: the next try would come after `expires_at`
    cancel_requested: bool = False
    repeats: bool = False  #: it is one of a line, and what it becomes would be repeated in its stead
    rescued_from: State | None = None  #: the state a reclaim goes back to


def next_state(state: State | None, event: Event, facts: Facts | None = None) -> State:
    """The state after `event`; raises InvalidTransition where the published table has no such edge."""
    if (state, event) not in TRANSITIONS:
        raise InvalidTransition(f"a job that is {state or 'new'} cannot {event}", state=state, event=event)
    target = _target(state, event, facts or Facts())
    if target not in TRANSITIONS[state, event]:
        raise InvalidTransition(
            f"{event} does not lead a job from {state} to {target}", state=state, event=event
        )
    return target


def _target(state: State | None, event: Event, facts: Facts) -> State | None:
    match event:
        case E.ENQUEUE | E.RETRY if facts.blocked:
            return S.WAITING
        case E.RETRY:
            return S.UNASSIGNED
        case E.ENQUEUE | E.ADMIT:
            return S.UNASSIGNED if facts.due else S.SCHEDULED
        case E.FAIL:
            return _after_failure(facts)
        case E.REPLACE:
            return _after_replacement(facts)
        case E.RELEASE:
            return S.CANCELLED if facts.cancel_requested else S.UNASSIGNED
        case E.RESCUE:
            return _after_rescue(state, facts)
        case E.RECLAIM:
            return facts.rescued_from
        case _:
            (target,) = TRANSITIONS[state, event]
            return target


def _after_failure(facts: Facts) -> State:
    if not (facts.wants_retry and facts.retries_left):
        return S.FAILED
    if facts.cancel_requested:
        return S.CANCELLED
    return S.EXPIRED if facts.expires_before_retry else S.RETRYING


def _after_replacement(facts: Facts) -> State:
    if facts.cancel_requested:
        return S.CANCELLED
    return S.FAILED if facts.repeats else S.WAITING


def _after_rescue(state: State | None, facts: Facts) -> State:
    if facts.cancel_requested:
        return S.CANCELLED
    if state is S.ASSIGNED:
        return S.UNASSIGNED
    return S.RETRYING if facts.losses_left else S.FAILED


def celery_state(state: State) -> str:
    """Celery's name for a state: what `AsyncResult.state` shows."""
    return _CELERY[state]


_CELERY = {
    S.WAITING: "PENDING",
    S.SCHEDULED: "PENDING",
    S.UNASSIGNED: "PENDING",
    S.ASSIGNED: "RECEIVED",
    S.WORKING: "STARTED",
    S.RETRYING: "RETRY",
    S.COMPLETED: "SUCCESS",
    S.FAILED: "FAILURE",
    S.EXPIRED: "REVOKED",
    S.CANCELLED: "REVOKED",
}
