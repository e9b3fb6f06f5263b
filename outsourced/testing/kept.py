"""What a store in memory keeps of queues, workers, files and jobs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from outsourced.rates import Rate
from outsourced.records import Edge, Job, StoredFile, Told, Transition
from outsourced.states import LEASED, TERMINAL, State


@dataclass(slots=True, eq=False, kw_only=True)
class KeptQueue:
    """A queue."""

    name: str
    capacity: int | None = None
    paused: bool = False


@dataclass(slots=True, eq=False)
class KeptLimit:
    """A rate limit, and when the jobs begun under it are paid for."""

    rate: Rate
    next_at: datetime


@dataclass(slots=True, eq=False, kw_only=True)
class KeptWorker:
    """A worker, the queues it is hired for, and what its claims were answered."""

    name: str
    hired: set[str] = field(default_factory=set)
    locked: bool = False
    paused: bool = False
    claims: dict[UUID, list[tuple[UUID, UUID]]] = field(default_factory=dict)
    is_unlimited: bool = False  #: rate limits do not hold for it
    polls: dict[UUID, object] = field(default_factory=dict)  #: the newest parked of each instance

    @property
    def actor(self) -> str:
        return f"worker:{self.name}"


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file with its bytes."""

    stored: StoredFile
    content: bytes

    @classmethod
    def of(cls, content: bytes, *, name: str, content_type: str) -> KeptFile:
        digest = hashlib.sha256(content).hexdigest()
        return cls(
            StoredFile(name=name, size=len(content), sha256=digest, content_type=content_type), content
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """A job's dates as distances from its start, which its repeats keep."""

    starts_at: datetime
    expires_after: timedelta | None = None
    stuck_after: timedelta | None = None
    after_fail: timedelta | None = None
    after_complete: timedelta | None = None

    def after(self, state: State) -> timedelta | None:
        """How long after its start a job that ended so starts again; None: it does not."""
        match state:
            case State.COMPLETED:
                return self.after_complete
            case State.FAILED | State.EXPIRED:
                return self.after_fail
            case _:
                return None


@dataclass(slots=True, eq=False)
class KeptEdge:
    """A job's wait for another; `met` once that has ended, or not."""

    edge: Edge
    downstream: UUID
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Dates that count from the moment a job waits no more."""

    runs_after: timedelta | None = None
    expires_after: timedelta | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class KeptJob:
    """A job, with what only its store knows of it."""

    job: Job  #: but for its worker, last error, files and some dates, which `snapshot` adds
    seq: int
    rhythm: Rhythm
    unique_key: str | None
    attachment: KeptFile | None
    files: dict[str, KeptFile] = field(default_factory=dict)
    history: list[Transition] = field(default_factory=list)
    lease_id: UUID | None = None  #: the newest, kept after its end: it may come home
    lease_until: datetime | None = None
    holder: str | None = None  #: of the newest lease
    instance_id: UUID | None = None
    rescued_from: State | None = None
    lost_deliveries: int = 0
    told: Told | None = None  #: the newest progress, of whichever lease
    after: tuple[KeptEdge, ...] = ()
    before: list[KeptEdge] = field(default_factory=list)
    waiting: Waiting | None = None  #: of one that waits for others, or did

    @property
    def state(self) -> State:
        return self.job.state

    @property
    def is_live(self) -> bool:
        return self.job.state not in TERMINAL

    @property
    def gets_stuck_at(self) -> datetime | None:
        start = self.job.begun_at if self.state is State.WORKING else self.job.runs_at
        return _later(start, self.rhythm.stuck_after)

    def snapshot(self) -> Job:
        """The job as the store tells of it."""
        held = self.state in LEASED or self.state in TERMINAL
        told = self.told if self.state is State.WORKING else None
        errors = [row.error for row in self.history if row.error is not None]
        return replace(
            self.job,
            worker=self.holder if held else None,
            error=errors[-1] if errors else None,
            files=tuple(self.files[name].stored for name in sorted(self.files)),
            gets_stuck_at=self.gets_stuck_at,
            repeats_after_fail_at=_later(self.rhythm.starts_at, self.rhythm.after_fail),
            repeats_after_complete_at=_later(self.rhythm.starts_at, self.rhythm.after_complete),
            progress=told.progress if told is not None and told.lease_id == self.lease_id else None,
        )


def _later(start: datetime | None, after: timedelta | None) -> datetime | None:
    return None if start is None or after is None else start + after
