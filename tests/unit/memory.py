"""A Producer and a job's files in memory: the base layers' tests run against these."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID, uuid4

from outsourced import clock
from outsourced.errors import AlreadyExists, LeaseLost, NotFound
from outsourced.payload import loads
from outsourced.records import Failure, Job, Lease, NewJob, StoredFile, Transition
from outsourced.states import TERMINAL, Event, State, next_state


class MemoryProducer:
    """Keeps jobs in a dictionary; the test says what becomes of them."""

    def __init__(self) -> None:
        self.calls: list[list[NewJob]] = []
        self.sessions: list[Any] = []
        self.jobs: dict[UUID, Job] = {}
        self.contents: dict[tuple[UUID, str], bytes] = {}
        self._histories: dict[UUID, list[Transition]] = {}
        self._changed = threading.Condition()

    def enqueue(self, jobs: Sequence[NewJob], *, session: Any = None) -> None:
        self.sessions.append(session)
        with self._changed:
            if any(job.id in self.jobs for job in jobs):
                raise AlreadyExists("a job with this task_id exists already")
            self.calls.append(list(jobs))
            for job in jobs:
                self.jobs[job.id] = _fresh(job)
                self._note(job.id, None, Event.ENQUEUE)

    def move(self, job_id: UUID, *events: Event, **changes: Any) -> None:
        """Takes a job along these events, then sets what the last of them brought."""
        with self._changed:
            for event in events:
                before = self.jobs[job_id].state
                self.jobs[job_id] = replace(self.jobs[job_id], state=next_state(before, event))
                self._note(job_id, before, event)
            self.jobs[job_id] = replace(self.jobs[job_id], **changes)
            self._changed.notify_all()

    def complete(self, job_id: UUID, result: str | None = None) -> None:
        self.move(job_id, Event.CLAIM, Event.COMPLETE, result=result, ended_at=clock.now())

    def fail(self, job_id: UUID, error: Failure | None) -> None:
        self.move(job_id, Event.CLAIM, Event.FAIL, error=error, ended_at=clock.now())

    def save(self, job_id: UUID, name: str, content: bytes) -> None:
        stored = StoredFile(name=name, size=len(content), sha256="", content_type="text/plain")
        self.contents[job_id, name] = content
        self.jobs[job_id] = replace(self.jobs[job_id], files=(*self.jobs[job_id].files, stored))

    def job(self, job_id: UUID) -> Job | None:
        return self.jobs.get(job_id)

    def history(self, job_id: UUID) -> Sequence[Transition]:
        return self._histories.get(job_id, [])

    def wait(self, job_id: UUID, timeout: float) -> Job | None:
        with self._changed:
            job = self.jobs.get(job_id)
            if job is not None:
                self._changed.wait_for(lambda: self.jobs[job_id].state in TERMINAL, timeout)
            return self.jobs.get(job_id)

    def cancel(self, job_id: UUID) -> Job | None:
        if job_id in self.jobs:
            self.move(job_id, Event.CANCEL)
        return self.job(job_id)

    @contextmanager
    def open_file(self, job_id: UUID, name: str) -> Iterator[BinaryIO]:
        if (job_id, name) not in self.contents:
            raise NotFound("no such file")
        yield io.BytesIO(self.contents[job_id, name])

    def _note(self, job_id: UUID, before: State | None, event: Event) -> None:
        rows = self._histories.setdefault(job_id, [])
        rows.append(
            Transition(
                job_id=job_id,
                seq=len(rows) + 1,
                from_state=before,
                to_state=self.jobs[job_id].state,
                event=event,
                attempt=0,
                actor="test",
                lease_id=None,
                at=clock.now(),
                reason=None,
                error=None,
            )
        )


def _fresh(job: NewJob) -> Job:
    now = clock.now()
    return Job(
        id=job.id,
        task=job.task,
        queue=job.queue or "default",
        state=State.UNASSIGNED,
        priority=job.priority,
        attempt=0,
        failures=0,
        losses=0,
        max_retries=job.max_retries,
        max_losses=job.max_losses,
        owner=job.owner,
        created_at=now,
        runs_at=job.runs_at or now,
        expires_at=job.expires_at,
        begun_at=None,
        ended_at=None,
        cancel_requested_at=None,
        reason=None,
        worker=None,
        payload=job.payload,
    )


@dataclass
class MemoryFiles:
    """A job's files under its lease."""

    attachment: bytes = b""
    lost: bool = False
    fetches: int = 0
    saved: dict[str, tuple[bytes, str]] = field(default_factory=dict)

    def fetch_attachment(self, lease: Lease, target: Path) -> None:
        self.fetches += 1
        target.write_bytes(self.attachment)

    def save_file(self, lease: Lease, name: str, source: Path, content_type: str) -> StoredFile:
        if self.lost:
            raise LeaseLost("the lease has ended")
        self.saved[name] = (source.read_bytes(), content_type)
        return StoredFile(name=name, size=source.stat().st_size, sha256="", content_type=content_type)

    def producer(self, lease: Lease) -> MemoryProducer:
        return MemoryProducer()


def lease_of(job: NewJob, **changes: Any) -> Lease:
    """The job as a worker would lease it."""
    fields: dict[str, Any] = {
        "id": uuid4(),
        "job_id": job.id,
        "task": job.task,
        "payload": loads(job.payload),
        "queue": job.queue or "default",
        "attempt": 1,
        "failures": 0,
        "max_retries": job.max_retries,
        "ttl": 60.0,
        "owner": job.owner,
    }
    return Lease(**fields | changes)
