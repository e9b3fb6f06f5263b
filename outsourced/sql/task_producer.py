"""What a task in the server's process enqueues with. Implements `Producer` and `OwnerView`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, BinaryIO
from uuid import UUID

from outsourced.records import Job, Lease, NewJob, Owner, Transition, WorkerIdentity
from outsourced.sql import producing
from outsourced.sql.backend import SqlBackend
from outsourced.states import State


class TaskProducer:
    """The backend, with what is enqueued being children of the leased job.

    The task is the app's own code and has the database anyway: it may enqueue into any queue and see
    every job. Under a lease that has ended it may not enqueue: LeaseLost.
    """

    def __init__(self, backend: SqlBackend, worker: WorkerIdentity, lease: Lease) -> None:
        self._backend = backend
        self._worker = worker
        self._lease = lease

    def enqueue(self, jobs: Sequence[NewJob], *, session: Any = None) -> None:
        parent = producing.parent_under(self._backend, self._worker, self._lease.id)
        self._backend.enqueue_for(parent.origin, parent.adopt(jobs), session=session)

    def job(self, job_id: UUID) -> Job | None:
        return self._backend.job(job_id)

    def history(self, job_id: UUID) -> Sequence[Transition]:
        return self._backend.history(job_id)

    def wait(self, job_id: UUID, timeout: float) -> Job | None:
        return self._backend.wait(job_id, timeout)

    def cancel(self, job_id: UUID, *, unless_begun: bool = False) -> Job | None:
        return self._backend.cancel(job_id, unless_begun=unless_begun, actor=f"task:{self._lease.job_id}")

    def children(self, job_id: UUID) -> Sequence[UUID]:
        return self._backend.children(job_id)

    def forget(self, job_id: UUID) -> Job | None:
        return self._backend.forget(job_id)

    def save_group(self, group_id: UUID, members: str) -> None:
        self._backend.save_group(group_id, members)

    def group(self, group_id: UUID) -> str | None:
        return self._backend.group(group_id)

    def forget_group(self, group_id: UUID) -> None:
        self._backend.forget_group(group_id)

    def open_file(self, job_id: UUID, name: str) -> AbstractContextManager[BinaryIO]:
        return self._backend.open_file(job_id, name)

    def count_of(self, owner: Owner) -> Mapping[State, int]:
        return self._backend.count_of(owner)

    def jobs_of(self, owner: Owner) -> Iterator[Job]:
        return self._backend.jobs_of(owner)

    def cancel_of(self, owner: Owner) -> tuple[int, int]:
        return self._backend.cancel_of(owner)
