"""How each edge of the life cycle comes about, by nothing but what producers, workers and people can do.

`RECIPES` holds one recipe an edge: the way to a state, then what leads on from it. `LATER` holds the
edges whose trigger is not built yet. An edge of `states.TRANSITIONS` belongs in exactly one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import uuid6

from outsourced import clock, payload
from outsourced.records import Edge as WaitsFor
from outsourced.records import EdgeKind, Lease, NewJob, OutcomeKind
from outsourced.sql import maintenance
from outsourced.sql.task_producer import TaskProducer
from outsourced.states import TERMINAL, TRANSITIONS, Event, State
from tests.sql.conftest import FAILURE, Site, held, outcome, pass_time

Edge = tuple[State | None, Event, State]

S, E = State, Event

#: every edge of the published table
EDGES: frozenset[Edge] = frozenset(
    (source, event, target) for (source, event), targets in TRANSITIONS.items() for target in targets
)

_tasks = count(1)


@dataclass
class Plot:
    """One job on its way along an edge. Its task is its own, so that no other plot's worker takes it."""

    site: Site
    task: str = field(default_factory=lambda: f"tasks.plot_{next(_tasks)}")
    job_id: UUID = field(default_factory=uuid6.uuid7)
    lease: Lease | None = None
    first_id: UUID = field(default_factory=uuid6.uuid7)

    def enqueue(self, **options: Any) -> None:
        job = NewJob(id=self.job_id, task=self.task, payload=payload.encode_call((), {}), **options)
        self.site.backend.enqueue([job])

    def enqueue_after(
        self, *, expires_in: timedelta | None = None, kind: EdgeKind = EdgeKind.CHAIN, **options: Any
    ) -> None:
        """As `enqueue`, to wait for a job of the task `first`; it may expire while it does."""
        first = NewJob(id=self.first_id, task=f"{self.task}.first", payload=payload.encode_call((), {}))
        if expires_in is not None:
            options["expires_at"] = clock.now() + self.site.backend.database.clock_offset + expires_in
        job = NewJob(
            id=self.job_id,
            task=self.task,
            payload=payload.encode_call((), {}),
            after=(WaitsFor(upstream=first.id, kind=kind),),
            **options,
        )
        self.site.backend.enqueue([first, job])

    def end_first(self, kind: OutcomeKind) -> None:
        (lease,) = self.site.say(claim_id=uuid4(), slots=1, tasks=(f"{self.task}.first",)).leases
        self.site.say(outcomes=(outcome(lease, kind, error=FAILURE),))

    def claim(self) -> None:
        (self.lease,) = self.site.say(claim_id=uuid4(), slots=1, tasks=(self.task,)).leases

    def begin(self) -> None:
        self.site.begin(self.held)

    @property
    def held(self) -> Lease:
        assert self.lease is not None
        return self.lease

    def settle(self, kind: OutcomeKind, **more: Any) -> None:
        self.site.say(outcomes=(outcome(self.held, kind, error=FAILURE, **more),))

    def replace(self) -> None:
        child = NewJob(id=uuid6.uuid7(), task=f"{self.task}.child", payload=payload.encode_call((), {}))
        TaskProducer(self.site.backend, self.site.identity, self.held).enqueue([child])
        self.site.say(outcomes=(outcome(self.held, OutcomeKind.REPLACED, replaced_by=child.id),))

    def heartbeat(self) -> None:
        self.site.say(held=(held(self.held),))

    def cancel(self) -> None:
        self.site.backend.cancel(self.job_id)

    def retry(self) -> None:
        self.site.backend.requeue(self.job_id)

    def retry_first(self) -> None:
        self.site.backend.requeue(self.first_id)

    def after(self, seconds: float, duty: Callable[[Any], int]) -> None:
        """Lets time pass, then a server do its duty."""
        pass_time(self.site.backend, seconds)
        duty(self.site.backend)

    def lose(self) -> None:
        """Is not heard of until the lease is taken back."""
        self.after(self.held.ttl + 1, maintenance.rescue)


Part = Callable[[Plot], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a job is enqueued with, and what is done with it then."""

    parts: tuple[Part, ...]
    options: dict[str, Any] = field(default_factory=dict)
    waits: bool = False

    def cook(self, site: Site) -> UUID:
        """Takes a fresh job along the edge; gives its id."""
        plot = Plot(site)
        (plot.enqueue_after if self.waits else plot.enqueue)(**self.options)
        for part in self.parts:
            part(plot)
        return plot.job_id


def _settle(kind: OutcomeKind, **more: Any) -> Part:
    return lambda plot: plot.settle(kind, **more)


_MINUTE, _SOON, _LATE = timedelta(minutes=1), 10.0, 1000.0
_LATER_THAN_RETRY = {"expires_in": timedelta(seconds=_LATE)}
_complete = _settle(OutcomeKind.COMPLETED, result="3")
_fail = _settle(OutcomeKind.FAILED)
_retry_soon, _retry_late = (_settle(OutcomeKind.RETRY, delay=delay) for delay in (_SOON, _LATE + 1))
_release = _settle(OutcomeKind.RELEASED)

#: how a job gets to a state, from its enqueueing on
WAYS: dict[State, Recipe] = {
    S.SCHEDULED: Recipe(parts=(), options={"runs_in": _MINUTE}),
    S.UNASSIGNED: Recipe(parts=()),
    S.ASSIGNED: Recipe(parts=(Plot.claim,)),
    S.WORKING: Recipe(parts=(Plot.claim, Plot.begin)),
    S.RETRYING: Recipe(parts=(Plot.claim, Plot.begin, _retry_soon)),
    S.COMPLETED: Recipe(parts=(Plot.claim, _complete)),
    S.FAILED: Recipe(parts=(Plot.claim, _fail)),
    S.EXPIRED: Recipe(
        parts=(lambda plot: plot.after(_LATE + 1, maintenance.expire),), options=_LATER_THAN_RETRY
    ),
    S.CANCELLED: Recipe(parts=(Plot.cancel,)),
}

#: what leads on from a state: by event and where it leads
CAUSES: dict[tuple[Event, State], Recipe] = {
    (E.PROMOTE, S.UNASSIGNED): Recipe(parts=(lambda plot: plot.after(61, maintenance.promote),)),
    (E.CLAIM, S.ASSIGNED): Recipe(parts=(Plot.claim,)),
    (E.BEGIN, S.WORKING): Recipe(parts=(Plot.begin,)),
    (E.COMPLETE, S.COMPLETED): Recipe(parts=(_complete,)),
    (E.FAIL, S.FAILED): Recipe(parts=(_fail,)),
    (E.FAIL, S.RETRYING): Recipe(parts=(_retry_soon,)),
    (E.FAIL, S.CANCELLED): Recipe(parts=(Plot.cancel, _retry_soon)),
    (E.FAIL, S.EXPIRED): Recipe(parts=(_retry_late,), options=_LATER_THAN_RETRY),
    (E.REPLACE, S.WAITING): Recipe(parts=(Plot.replace,)),
    (E.REPLACE, S.CANCELLED): Recipe(parts=(Plot.cancel, Plot.replace)),
    (E.REPLACE, S.FAILED): Recipe(parts=(Plot.replace,), options={"repeats_after_complete": _MINUTE}),
    (E.RELEASE, S.UNASSIGNED): Recipe(parts=(_release,)),
    (E.RELEASE, S.CANCELLED): Recipe(parts=(Plot.cancel, _release)),
    (E.RESCUE, S.UNASSIGNED): Recipe(parts=(Plot.lose,)),
    (E.RESCUE, S.RETRYING): Recipe(parts=(Plot.lose,)),
    (E.RESCUE, S.FAILED): Recipe(parts=(Plot.lose,), options={"max_losses": 0}),
    (E.RESCUE, S.CANCELLED): Recipe(parts=(Plot.cancel, Plot.lose)),
    (E.RETRY, S.UNASSIGNED): Recipe(parts=(Plot.retry,)),
}

_expire_unleased = Recipe(
    parts=(lambda plot: plot.after(_LATE + 1, maintenance.expire),), options=_LATER_THAN_RETRY
)
_report_expired = Recipe(parts=(_settle(OutcomeKind.EXPIRED),), options=_LATER_THAN_RETRY)
_cancel_leased = Recipe(parts=(Plot.cancel, _settle(OutcomeKind.CANCELLED)))


def _joined(way: Recipe, cause: Recipe) -> Recipe:
    return Recipe(parts=way.parts + cause.parts, options=way.options | cause.options)


def _waiting(*parts: Part, **options: Any) -> Recipe:
    return Recipe(parts=parts, options=options, waits=True)


def _of_waiting() -> dict[Edge, Recipe]:
    """The edges of a job that waits for another."""

    def ends(kind: OutcomeKind) -> Part:
        return lambda plot: plot.end_first(kind)

    return {
        (None, E.ENQUEUE, S.WAITING): _waiting(),
        (S.WAITING, E.ADMIT, S.UNASSIGNED): _waiting(ends(OutcomeKind.COMPLETED)),
        (S.WAITING, E.ADMIT, S.SCHEDULED): _waiting(ends(OutcomeKind.COMPLETED), runs_in=_MINUTE),
        (S.WAITING, E.FAIL, S.FAILED): _waiting(ends(OutcomeKind.FAILED)),
        (S.WAITING, E.CANCEL, S.CANCELLED): _waiting(Plot.cancel),
        (S.WAITING, E.EXPIRE, S.EXPIRED): _waiting(
            lambda plot: plot.after(_LATE + 1, maintenance.expire), **_LATER_THAN_RETRY
        ),
        # of an errback that ran, or tried to
        **{
            (state, E.RETRY, S.WAITING): _waiting(
                ends(OutcomeKind.FAILED),
                *WAYS[state].parts,
                Plot.retry_first,
                kind=EdgeKind.ERROR,
                **WAYS[state].options,
            )
            for state in TERMINAL
        },
    }


def _by_source() -> dict[Edge, Recipe]:
    """The edges whose event is caused in another way where the job is leased, or waits to be reclaimed."""
    away = (Plot.claim, Plot.begin, Plot.lose)
    return {
        (None, E.ENQUEUE, S.SCHEDULED): WAYS[S.SCHEDULED],
        (None, E.ENQUEUE, S.UNASSIGNED): WAYS[S.UNASSIGNED],
        (S.UNASSIGNED, E.RECLAIM, S.ASSIGNED): Recipe(parts=(Plot.claim, Plot.lose, Plot.heartbeat)),
        (S.UNASSIGNED, E.RECLAIM, S.WORKING): Recipe(
            parts=(*away, lambda plot: plot.after(0, maintenance.promote), Plot.heartbeat)
        ),
        (S.RETRYING, E.RECLAIM, S.WORKING): Recipe(parts=(*away, Plot.heartbeat)),
        (S.ASSIGNED, E.EXPIRE, S.EXPIRED): _joined(WAYS[S.ASSIGNED], _report_expired),
        **{
            (source, E.CANCEL, S.CANCELLED): _joined(WAYS[source], _cancel_leased)
            for source in (S.ASSIGNED, S.WORKING)
        },
        **{
            (source, E.CANCEL, S.CANCELLED): _joined(WAYS[source], Recipe(parts=(Plot.cancel,)))
            for source in (S.SCHEDULED, S.UNASSIGNED, S.RETRYING)
        },
        **{
            (source, E.EXPIRE, S.EXPIRED): _joined(WAYS[source], _expire_unleased)
            for source in (S.SCHEDULED, S.UNASSIGNED, S.RETRYING)
        },
    }


RECIPES: dict[Edge, Recipe] = (
    _by_source()
    | _of_waiting()
    | {
        (source, event, target): _joined(WAYS[source], CAUSES[event, target])
        for source, event, target in EDGES
        if source in WAYS and (event, target) in CAUSES
    }
)

#: edges nothing can cause yet, and what will
LATER: dict[Edge, str] = {}
