"""A backend in memory that remembers its calls, and a job's files: base layers are tested against these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from outsourced.errors import LeaseLost
from outsourced.payload import loads
from outsourced.records import (
    ExchangeRequest,
    Failure,
    Held,
    Instance,
    Lease,
    NewJob,
    Outcome,
    OutcomeKind,
    StoredFile,
)
from outsourced.testing import MemoryBackend

HERE = Instance(id=uuid4(), host="here", pid=1, version="0")


class Producer(MemoryBackend):
    """Remembers what was enqueued, and has whatever queue a test names; the test says how jobs end."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[NewJob]] = []
        self.workers.create("near")
        self.near = self.consumer("near")

    def enqueue(self, jobs: Sequence[NewJob], *, session: Any = None) -> None:
        for name in {job.queue for job in jobs} - {None, *self._store.queues}:
            self.queues.create(str(name))
        super().enqueue(jobs, session=session)
        self.calls.append(list(jobs))

    def claim(self, job_id: UUID) -> Lease:
        """The job in a worker's hands; there is no other that is ready."""
        job = self.job(job_id)
        assert job is not None
        self.workers.hire("near", job.queue)
        claim = ExchangeRequest(instance=HERE, claim_id=uuid4(), slots=1, tasks=(job.task,))
        (lease,) = self.near.exchange(claim).leases
        assert lease.job_id == job_id
        return lease

    def begin(self, lease: Lease) -> None:
        held = Held(lease_id=lease.id, job_id=lease.job_id)
        self.near.exchange(ExchangeRequest(instance=HERE, begun=(held,)))

    def end(self, lease: Lease, kind: OutcomeKind, **more: Any) -> None:
        """Settles the lease."""
        outcome = Outcome(lease_id=lease.id, job_id=lease.job_id, kind=kind, **more)
        self.near.exchange(ExchangeRequest(instance=HERE, outcomes=(outcome,)))

    def complete(self, job_id: UUID, result: str | None = None) -> None:
        self.end(self.claim(job_id), OutcomeKind.COMPLETED, result=result)

    def fail(self, job_id: UUID, error: Failure | None, **more: Any) -> None:
        self.end(self.claim(job_id), OutcomeKind.FAILED, error=error, **more)


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

    def producer(self, lease: Lease) -> MemoryBackend:
        return MemoryBackend()


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
