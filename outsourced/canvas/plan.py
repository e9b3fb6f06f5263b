"""The flat plan of a canvas: jobs in an order in which each comes after all it waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, Unpack
from uuid import UUID

from outsourced import backend, payload, publishing
from outsourced.calls import Options
from outsourced.errors import PayloadError
from outsourced.records import Edge, EdgeKind, NewJob
from outsourced.results import AsyncResult
from outsourced.resultsets import GroupResult

#: waits that one canvas may consist of
MAX_EDGES = 200_000

#: what a part of a canvas ends in: the job whose result it is, or several, as a list
Ends = UUID | list["Ends"]
AnyResult = AsyncResult[Any] | GroupResult


class Target(Protocol):
    """A task, as far as a canvas needs one."""

    @property
    def name(self) -> str: ...

    def new_job(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> NewJob:
        """The job of a call; raises TypeError for arguments that do not fit."""

    def waiting_job(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        after: tuple[Edge, ...],
        options: Mapping[str, Any],
    ) -> NewJob:
        """The job of a call that waits for others, whose results come before its arguments."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What comes to the first jobs of a part: what they wait for, and arguments known already."""

    edges: tuple[Edge, ...] = ()
    given: tuple[Any, ...] = ()


NOTHING = Feed()


class Laid(NamedTuple):
    """A part of a canvas, laid out."""

    ends: Ends
    raisers: list[UUID]  #: the jobs whose failures are the part's own
    result: AnyResult


@dataclass(slots=True)
class Plan:
    """The jobs so far."""

    jobs: list[NewJob] = field(default_factory=list)
    _edges: int = 0

    def add(self, job: NewJob) -> None:
        """Adds a job, all it waits for being there; raises PayloadError for more waits than MAX_EDGES."""
        self.jobs.append(job)
        self._edges += len(job.after)
        if self._edges > MAX_EDGES:
            raise PayloadError(
                f"this canvas waits for more than {MAX_EDGES:,} results: between two large groups, "
                "let one task collect the results of the first"
            )

    def call_for(self, raisers: Sequence[UUID], since: int) -> None:
        """Makes the jobs added since then part of an errback: they run only if one of these jobs fails."""
        silent = tuple(Edge(upstream=one, kind=EdgeKind.ERROR, passes=False) for one in raisers)
        for number in range(since, len(self.jobs)):
            job = self.jobs[number]
            if not any(edge.kind is EdgeKind.ERROR and edge.upstream in raisers for edge in job.after):
                self.jobs[number] = replace(job, after=(*job.after, *silent))

    def keep_result_of(self, job_id: UUID) -> None:
        """Has the job keep its result, whatever its task says: somebody comes to wait for it later."""
        for number, job in enumerate(self.jobs):
            if job.id == job_id:
                kept = payload.changed_call(
                    job.payload, args=None, kwargs=None, extras={"ignore_result": False}
                )
                self.jobs[number] = replace(job, payload=kept)

    def enqueue(self, session: Any = None) -> None:
        """Enqueues all of it, or nothing."""
        if self.jobs:
            backend.current().enqueue(self.jobs, session=session)
            publishing.tell(self.jobs)


def fed_by(ends: Ends, *, before: Feed = NOTHING) -> Feed:
    """What those wait for, and are given, that come after this part, which was itself fed so."""
    if isinstance(ends, UUID):
        return Feed(edges=(Edge(upstream=ends),))
    edges = tuple(
        Edge(upstream=upstream, kind=EdgeKind.CHORD, opens=opens, closes=closes)
        for upstream, opens, closes in _flat(ends)
    )
    if edges:
        return Feed(edges=edges)
    return Feed(edges=tuple(replace(edge, passes=False) for edge in before.edges), given=([],))


def called_by(raisers: Sequence[UUID]) -> Feed:
    """Likewise for what is called when one of these jobs fails."""
    return Feed(edges=tuple(Edge(upstream=one, kind=EdgeKind.ERROR) for one in raisers))


def _flat(ends: list[Ends], opens: int = 1, closes: int = 1) -> Iterator[tuple[UUID, int, int]]:
    """The jobs of the list with the brackets around each; lists that are empty are left out."""
    parts = [part for part in ends if part != []]
    for number, part in enumerate(parts):
        before = opens if number == 0 else 0
        behind = closes if number == len(parts) - 1 else 0
        if isinstance(part, UUID):
            yield part, before, behind
        else:
            yield from _flat(part, before + 1, behind + 1)
