"""What a `MemoryBackend` keeps: jobs, queues, workers, a clock to move, and the one way a job moves."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from outsourced import clock
from outsourced.errors import LeaseLost, NotFound, UnknownQueue
from outsourced.records import Failure, Job, StoredFile, Transition
from outsourced.states import LEASED, TERMINAL, Event, Facts, State, next_state

_PLAIN = Facts()


@dataclass(slots=True, eq=False, kw_only=True)
class KeptQueue:
    """A queue."""

    name: str
    capacity: int | None = None
    paused: bool = False


@dataclass(slots=True, eq=False, kw_only=True)
class KeptWorker:
    """A worker, the queues it is hired for, and what its claims were answered."""

    name: str
    hired: set[str] = field(default_factory=set)
    locked: bool = False
    paused: bool = False
    claims: dict[UUID, list[tuple[UUID, UUID]]] = field(default_factory=dict)
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


@dataclass(slots=True, eq=False, kw_only=True)
class KeptJob:
    """A job, with what only its store knows of it."""

    job: Job  #: but for its worker, last error and files, which `snapshot` adds
    seq: int
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

    @property
    def state(self) -> State:
        return self.job.state

    @property
    def is_live(self) -> bool:
        return self.job.state not in TERMINAL

    def snapshot(self) -> Job:
        """The job as the store tells of it."""
        held = self.state in LEASED or self.state in TERMINAL
        errors = [row.error for row in self.history if row.error is not None]
        return replace(
            self.job,
            worker=self.holder if held else None,
            error=errors[-1] if errors else None,
            files=tuple(self.files[name].stored for name in sorted(self.files)),
        )


class Store:
    """Everything there is; `changed` is its lock, and tells those who wait."""

    def __init__(self, *, lease_ttl: timedelta) -> None:
        self.lease_ttl = lease_ttl
        self.offset = timedelta()
        self.changed = threading.Condition(threading.RLock())
        self.jobs: dict[UUID, KeptJob] = {}
        self.queues: dict[str, KeptQueue] = {}
        self.workers: dict[str, KeptWorker] = {}

    def now(self) -> datetime:
        """The store's present moment."""
        return clock.now() + self.offset

    def after(self, seconds: float) -> datetime:
        """The moment so many seconds from now."""
        return self.now() + timedelta(seconds=seconds)

    def queue(self, name: str | None) -> KeptQueue:
        """The queue of this name, or the first one; raises UnknownQueue."""
        found = next(iter(self.queues.values()), None) if name is None else self.queues.get(name)
        if found is None:
            known = ", ".join(sorted(self.queues)) or "none"
            raise UnknownQueue(
                f"there is no queue {name!r} (there are: {known}): `backend.queues.create({name!r})`",
                queue=name,
            )
        return found

    def worker(self, name: str) -> KeptWorker:
        """The worker of this name; raises NotFound."""
        try:
            return self.workers[name]
        except KeyError:
            raise NotFound(
                f"there is no worker {name!r}: `backend.workers.create({name!r})`", worker=name
            ) from None

    def live_in(self, queue: str) -> int:
        """How many jobs count towards the queue's capacity."""
        return sum(kept.is_live and kept.job.queue == queue for kept in self.jobs.values())

    def leased(self, worker: str, lease_id: UUID) -> KeptJob:
        """The job this worker holds under this lease; LeaseLost where it did, NotFound where it never did."""
        for kept in self.jobs.values():
            if any(row.lease_id == lease_id and row.actor == f"worker:{worker}" for row in kept.history):
                if kept.lease_id == lease_id and kept.state in LEASED:
                    return kept
                raise LeaseLost("this lease has ended", lease_id=str(lease_id))
        raise NotFound("no such lease")

    def move(
        self,
        kept: KeptJob,
        event: Event,
        *,
        actor: str,
        facts: Facts = _PLAIN,
        reason: str | None = None,
        error: Failure | None = None,
        under_lease: bool = False,
        **changes: Any,
    ) -> None:
        """Takes the job along this event to where `next_state` says, with its row of history.

        Raises InvalidTransition. Nothing else changes a job's state.
        """
        before, now = kept.state, self.now()
        after = next_state(before, event, facts)
        ended_at = now if after in TERMINAL else None
        kept.job = replace(kept.job, state=after, reason=reason, ended_at=ended_at, **changes)
        if after not in LEASED:
            kept.lease_until = None
        self.note(
            kept, before, event, actor=actor, at=now, reason=reason, error=error, under_lease=under_lease
        )
        self.changed.notify_all()

    def note(
        self,
        kept: KeptJob,
        before: State | None,
        event: Event,
        *,
        actor: str,
        at: datetime,
        reason: str | None = None,
        error: Failure | None = None,
        under_lease: bool = False,
    ) -> None:
        """Adds a row to the job's history."""
        kept.history.append(
            Transition(
                job_id=kept.job.id,
                seq=len(kept.history) + 1,
                from_state=before,
                to_state=kept.state,
                event=event,
                attempt=kept.job.attempt,
                actor=actor,
                lease_id=kept.lease_id if under_lease else None,
                at=at,
                reason=reason,
                error=error,
            )
        )
