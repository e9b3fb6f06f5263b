"""All that a `MemoryBackend` keeps, with a clock to move, and the one way a job moves."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from outsourced import clock
from outsourced.errors import LeaseLost, NotFound, UnknownQueue
from outsourced.rates import rate
from outsourced.records import Edge, Failure, Job, Transition
from outsourced.states import LEASED, TERMINAL, Event, Facts, Reason, State, next_state
from outsourced.testing.following import follow
from outsourced.testing.kept import (
    KeptEdge,
    KeptFile,
    KeptJob,
    KeptLimit,
    KeptQueue,
    KeptWorker,
    Rhythm,
    Waiting,
)

#: what has a rate limit
Limited = Literal["task", "queue"]

_PLAIN = Facts()


class Store:
    """Everything there is; `changed` is its lock, and tells those who wait."""

    def __init__(self, *, lease_ttl: timedelta, owner_limits: Mapping[str, int]) -> None:
        self.lease_ttl = lease_ttl
        self.owner_limits = owner_limits
        self.offset = timedelta()
        self.changed = threading.Condition(threading.RLock())
        self.jobs: dict[UUID, KeptJob] = {}
        self.queues: dict[str, KeptQueue] = {}
        self.workers: dict[str, KeptWorker] = {}
        self.groups: dict[UUID, str] = {}
        self.limits: dict[tuple[Limited, str], KeptLimit] = {}
        self._ends: deque[tuple[KeptJob, str]] = deque()

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

    def limit(self, kind: Limited, name: str, limit: str | float | None) -> None:
        """Limits a task or a queue from now on; 0 and None: not at all. Raises ValueError."""
        found, before = rate(limit), self.limits.pop((kind, name), None)
        if found is not None:
            now = self.now()
            next_at = now if before is None else min(before.next_at, now + timedelta(seconds=found.pace))
            self.limits[kind, name] = KeptLimit(found, next_at)
        self.changed.notify_all()

    def limits_of(self, kept: KeptJob) -> list[KeptLimit]:
        """The limits that a claim of this job spends of."""
        keys: tuple[tuple[Limited, str], ...] = (("task", kept.job.task), ("queue", kept.job.queue))
        return [self.limits[key] for key in keys if key in self.limits]

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

    def add(
        self,
        job: Job,
        rhythm: Rhythm,
        *,
        actor: str,
        unique_key: str | None,
        attachment: KeptFile | None,
        after: tuple[Edge, ...] = (),
        waiting: Waiting | None = None,
        reason: str | None = None,
    ) -> None:
        """Keeps a new job, ready, scheduled or waiting, with its first row of history."""
        facts = Facts(due=job.runs_at <= job.created_at, blocked=bool(after))
        state = next_state(None, Event.ENQUEUE, facts)
        kept = KeptJob(
            job=replace(job, state=state),
            seq=len(self.jobs),
            rhythm=rhythm,
            unique_key=unique_key,
            attachment=attachment,
            after=tuple(KeptEdge(edge, job.id) for edge in after),
            waiting=waiting,
        )
        self.jobs[job.id] = kept
        for edge in kept.after:
            self.jobs[edge.edge.upstream].before.append(edge)
        self.note(kept, None, Event.ENQUEUE, actor=actor, at=job.created_at, reason=reason)
        self.changed.notify_all()

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
        self._repeat(kept, actor=actor)
        if after in TERMINAL:
            self._follow(kept, actor)
        self.changed.notify_all()

    def _follow(self, ended: KeptJob, actor: str) -> None:
        """Lets those follow that wait for the job; those that end thereby have their turn after it."""
        self._ends.append((ended, actor))
        if len(self._ends) > 1:
            return
        try:
            while self._ends:
                kept, whose = self._ends[0]
                follow(self, kept, actor=whose)
                self._ends.popleft()
        finally:
            self._ends.clear()

    def _repeat(self, kept: KeptJob, *, actor: str) -> None:
        """Enqueues the next job of its line, if this one has ended so that there is one."""
        after, rhythm, now = kept.rhythm.after(kept.state), kept.rhythm, self.now()
        if after is None or any(other.job.repeat_of == kept.job.id for other in self.jobs.values()):
            return
        starts_at = max(rhythm.starts_at + after, now)
        job = replace(
            kept.job,
            id=uuid4(),
            attempt=0,
            failures=0,
            losses=0,
            created_at=now,
            runs_at=starts_at,
            expires_at=None if rhythm.expires_after is None else starts_at + rhythm.expires_after,
            begun_at=None,
            ended_at=None,
            cancel_requested_at=None,
            reason=None,
            result=None,
            result_pruned=False,
            repeat_of=kept.job.id,
        )
        self.add(
            job,
            replace(rhythm, starts_at=starts_at),
            actor=actor,
            unique_key=kept.unique_key,
            attachment=kept.attachment,
            reason=Reason.REPEAT,
        )

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
