"""A job's history as one life, and a walk along it that knows which lease is open at each step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outsourced.states import LEASED, Event, State
from tests.checker.records import JobRow, Records, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A job's row, if there is one, and its history in the order of its numbers."""

    job_id: UUID
    job: JobRow | None
    steps: tuple[Step, ...]


def lives_of(records: Records) -> list[Life]:
    """One life for each job that has a row or a history."""
    steps: dict[UUID, list[Step]] = defaultdict(list)
    for step in records.history:
        steps[step.job_id].append(step)
    jobs = {job.id: job for job in records.jobs}
    return [
        Life(
            job_id=job_id,
            job=jobs.get(job_id),
            steps=tuple(sorted(steps.get(job_id, ()), key=lambda step: step.seq)),
        )
        for job_id in jobs.keys() | steps.keys()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """A job's leases so far. One is open from its claim, or reclaim, until the job is not leased."""

    held: Step | None = None  #: the claim of the lease that is open
    last: Step | None = None  #: the claim of the latest lease, open or not
    ended: Step | None = None  #: the step that ended the latest lease, unless it is open

    def after(self, step: Step) -> Leases:
        """The leases once the step is done."""
        if step.event is Event.CLAIM:
            return Leases(held=step, last=step)
        if step.event is Event.RECLAIM:
            return Leases(held=self.last, last=self.last)
        if self.held is not None and step.to_state not in LEASED:
            return Leases(last=self.last, ended=step)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A step, and how things stood just before it."""

    step: Step
    before: Step | None
    leases: Leases


def moments_of(life: Life) -> Iterator[Moment]:
    """The life, step by step."""
    before, leases = None, Leases()
    for step in life.steps:
        yield Moment(step=step, before=before, leases=leases)
        before, leases = step, leases.after(step)


def open_lease(life: Life) -> Step | None:
    """The claim of the lease that is open when the history ends."""
    leases = Leases()
    for step in life.steps:
        leases = leases.after(step)
    return leases.held


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A stretch of time in which a lease was open: from its claim, or a reclaim, on."""

    claim: Step
    since: datetime
    begun_at: datetime | None  #: when it was heard to have begun; None: it was not
    until: datetime | None  #: None: it is open still
    ended: Step | None


def holds_of(life: Life) -> Iterator[Hold]:
    """The stretches in which somebody held the job."""
    since = begun_at = None
    for moment in moments_of(life):
        step, held = moment.step, moment.leases.held
        if held is not None and since is not None and moment.leases.after(step).held is not held:
            yield Hold(claim=held, since=since, begun_at=begun_at, until=step.at, ended=step)
        if step.event in (Event.CLAIM, Event.RECLAIM):
            since, begun_at = step.at, None
        if step.to_state is State.WORKING:
            begun_at = begun_at or step.at
    if (held := open_lease(life)) is not None and since is not None:
        yield Hold(claim=held, since=since, begun_at=begun_at, until=None, ended=None)
