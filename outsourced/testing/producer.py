"""The producers' side of a `MemoryBackend`. Implements `backend.Producer` and `backend.OwnerView`."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, BinaryIO
from uuid import UUID

from outsourced.errors import AlreadyExists, KeyTaken, NotFound, OwnerFull, QueueFull
from outsourced.following import check_waits
from outsourced.records import HANDING_ON, Job, Lease, NewFile, NewJob, Owner, Transition
from outsourced.states import LEASED, TERMINAL, State
from outsourced.testing import moves
from outsourced.testing.following import add_to_chord
from outsourced.testing.kept import KeptFile, Rhythm, Waiting
from outsourced.testing.store import Store

#: seconds after which a refused producer may hope for room
RETRY_AFTER = 5


class MemoryProducer:
    """Enqueues into a store and looks at it, as `actor`."""

    def __init__(self, store: Store, *, actor: str) -> None:
        self._store = store
        self._actor = actor
        self._parent_id: UUID | None = None
        self._root_id: UUID | None = None

    def enqueue(self, jobs: Sequence[NewJob], *, session: Any = None) -> None:
        """Stores all jobs or none; raises QueueFull, OwnerFull, UnknownQueue, AlreadyExists or KeyTaken.

        A `session` is not looked at: the jobs exist at once, as if it had committed.
        """
        check_waits(jobs, parent_id=self._parent_id)
        attachments = {job.id: _read(job.attachment) for job in jobs if job.attachment is not None}
        with self._store.changed:
            queues = [self._store.queue(job.queue).name for job in jobs]
            self._require_room(Counter(queues))
            self._require_owners_room(jobs)
            self._require_new(jobs)
            for job, queue in zip(jobs, queues, strict=True):
                self._add(job, queue, attachments.get(job.id))

    def _require_room(self, asked: Mapping[str, int]) -> None:
        for name, number in asked.items():
            capacity = self._store.queues[name].capacity
            free = number if capacity is None else max(0, capacity - self._store.live_in(name))
            if free < number:
                raise QueueFull(
                    f"queue {name!r} is full: {free} of {capacity} places free, {number} asked for",
                    queue=name,
                    capacity=capacity,
                    free=free,
                    asked=number,
                    retry_after=RETRY_AFTER,
                )

    def _require_owners_room(self, jobs: Sequence[NewJob]) -> None:
        limits = self._store.owner_limits
        for owner, number in Counter(job.owner for job in jobs).items():
            if owner is None or owner.type not in limits:
                continue
            limit = limits[owner.type]
            used = sum(kept.is_live and kept.job.owner == owner for kept in self._store.jobs.values())
            if used + number > limit:
                raise OwnerFull(
                    f"{owner.type} {owner.id} has {used} live jobs of the {limit} it may have, "
                    f"{number} more asked for",
                    owner={"type": owner.type, "id": owner.id},
                    limit=limit,
                    free=max(0, limit - used),
                    asked=number,
                    retry_after=RETRY_AFTER,
                )

    def _require_new(self, jobs: Sequence[NewJob]) -> None:
        ids = [job.id for job in jobs]
        if len(set(ids)) < len(ids) or not self._store.jobs.keys().isdisjoint(ids):
            raise AlreadyExists("a job with this task_id exists already", job_ids=[str(i) for i in ids[:10]])
        keys = [job.unique_key for job in jobs if job.unique_key is not None]
        held = {kept.unique_key for kept in self._store.jobs.values() if kept.is_live}
        if len(set(keys)) < len(keys) or not held.isdisjoint(keys):
            named = ", ".join(sorted(set(keys)))
            raise KeyTaken(f"a live job holds the unique key already: {named}", keys=sorted(set(keys)))

    def _add(self, new: NewJob, queue: str, attachment: KeptFile | None) -> None:
        now, waiting = self._store.now(), _waiting(new)
        runs_in, expires_in = (None, None) if waiting else (new.runs_in, new.expires_in)
        runs_at = _moment(now, new.runs_at, runs_in) or now
        expires_at = _moment(now, new.expires_at, expires_in)
        job = Job(
            id=new.id,
            task=new.task,
            queue=queue,
            state=State.UNASSIGNED,
            priority=new.priority,
            attempt=0,
            failures=0,
            losses=0,
            max_retries=new.max_retries,
            max_losses=new.max_losses,
            owner=new.owner,
            created_at=now,
            runs_at=runs_at,
            expires_at=expires_at,
            begun_at=None,
            ended_at=None,
            cancel_requested_at=None,
            reason=None,
            worker=None,
            payload=new.payload,
            parent_id=self._parent_id,
            root_id=self._root_id,
        )
        rhythm = Rhythm(
            starts_at=runs_at,
            expires_after=None if expires_at is None else expires_at - runs_at,
            stuck_after=new.stuck_after,
            after_fail=new.repeats_after_fail,
            after_complete=new.repeats_after_complete,
        )
        self._store.add(
            job,
            rhythm,
            actor=self._actor,
            unique_key=new.unique_key,
            attachment=attachment,
            after=new.after,
            waiting=waiting,
        )
        if new.add_to_chord and self._parent_id is not None:
            add_to_chord(self._store, self._store.jobs[self._parent_id], self._store.jobs[new.id])

    def job(self, job_id: UUID) -> Job | None:
        with self._store.changed:
            kept = self._store.jobs.get(job_id)
            return None if kept is None else kept.snapshot()

    def history(self, job_id: UUID) -> Sequence[Transition]:
        with self._store.changed:
            kept = self._store.jobs.get(job_id)
            return () if kept is None else tuple(kept.history)

    def wait(self, job_id: UUID, timeout: float) -> Job | None:
        deadline = time.monotonic() + timeout
        with self._store.changed:
            kept = self._store.jobs.get(job_id)
            while kept is not None and kept.is_live and (left := deadline - time.monotonic()) > 0:
                self._store.changed.wait(left)
            return None if kept is None else kept.snapshot()

    def cancel(self, job_id: UUID, *, unless_begun: bool = False) -> Job | None:
        with self._store.changed:
            kept = self._store.jobs.get(job_id)
            if kept is None:
                return None
            if not (unless_begun and kept.state is State.WORKING):
                moves.cancel(self._store, kept, actor=self._actor)
            return kept.snapshot()

    def children(self, job_id: UUID) -> Sequence[UUID]:
        with self._store.changed:
            kept = self._store.jobs.get(job_id)
            behind = kept.before if kept is not None else ()
            following = {one.downstream for one in behind if one.edge.kind in HANDING_ON}
            return [
                other.job.id
                for other in self._store.jobs.values()
                if other.job.parent_id == job_id or other.job.id in following
            ]

    def forget(self, job_id: UUID) -> Job | None:
        with self._store.changed:
            kept = self._store.jobs.get(job_id)
            if kept is None:
                return None
            wanted = any(self._store.jobs[one.downstream].state is State.WAITING for one in kept.before)
            if not kept.is_live and not wanted:
                kept.job = replace(kept.job, result=None, result_pruned=True)
            return kept.snapshot()

    def save_group(self, group_id: UUID, members: str) -> None:
        self._store.groups[group_id] = members

    def group(self, group_id: UUID) -> str | None:
        return self._store.groups.get(group_id)

    def forget_group(self, group_id: UUID) -> None:
        self._store.groups.pop(group_id, None)

    @contextmanager
    def open_file(self, job_id: UUID, name: str) -> Iterator[BinaryIO]:
        with self._store.changed:
            kept = self._store.jobs.get(job_id)
            file = None if kept is None else kept.files.get(name)
        if file is None:
            raise NotFound(f"the job saved no file {name!r}", job_id=str(job_id))
        yield io.BytesIO(file.content)

    def count_of(self, owner: Owner) -> Mapping[State, int]:
        return Counter(job.state for job in self.jobs_of(owner))

    def jobs_of(self, owner: Owner) -> Iterator[Job]:
        """The owner's jobs, newest first, without arguments and results."""
        with self._store.changed:
            mine = [kept.snapshot() for kept in self._store.jobs.values() if kept.job.owner == owner]
        return (replace(job, payload=None, result=None, progress=None) for job in reversed(mine))

    def cancel_of(self, owner: Owner) -> tuple[int, int]:
        with self._store.changed:
            mine = [kept for kept in self._store.jobs.values() if kept.job.owner == owner and kept.is_live]
            asked = [kept for kept in mine if kept.state in LEASED and not kept.job.cancel_requested_at]
            for kept in mine:
                moves.cancel(self._store, kept, actor=self._actor)
            return sum(kept.state in TERMINAL for kept in mine), len(asked)


class TaskProducer(MemoryProducer):
    """What the task under a lease enqueues with: its job's children, which inherit its owner."""

    def __init__(self, store: Store, worker: str, lease: Lease) -> None:
        super().__init__(store, actor=f"task:{lease.job_id}")
        self._worker = worker
        self._lease = lease
        self._parent_id = lease.job_id
        self._root_id = lease.root_id or lease.job_id

    def enqueue(self, jobs: Sequence[NewJob], *, session: Any = None) -> None:
        with self._store.changed:
            self._store.leased(self._worker, self._lease.id)
        owner = self._lease.owner
        super().enqueue([replace(job, owner=job.owner or owner) for job in jobs], session=session)


def _read(file: NewFile) -> KeptFile:
    with file.open() as stream:
        return KeptFile.of(stream.read(), name=file.filename, content_type=file.content_type)


def _waiting(new: NewJob) -> Waiting | None:
    return Waiting(new.runs_in, new.expires_in) if new.after else None


def _moment(now: datetime, at: datetime | None, after: timedelta | None) -> datetime | None:
    return at if at is not None or after is None else now + after
