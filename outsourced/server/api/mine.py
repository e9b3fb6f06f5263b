"""Whose jobs a request is about: a client's own, or the children of a leased job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from outsourced.records import Job, NewJob
from outsourced.server.api.messages import require_caller
from outsourced.server.services import Services
from outsourced.sql import producing
from outsourced.sql.producing import Key


class Mine(Protocol):
    """The jobs that the caller may enqueue, see and cancel."""

    actor: str

    @property
    def scope(self) -> str:
        """Whose groups the caller saves, and may restore."""

    def enqueue(self, jobs: Sequence[NewJob], key: Key | None) -> tuple[UUID, ...]:
        """Enqueues all or none; gives their ids."""

    def find(self, job_id: UUID) -> Job | None:
        """The job, if it is one of these."""

    def children(self, job_id: UUID) -> Sequence[UUID]:
        """Of the job's children, those that are of these."""


class OwnJobs:
    """Those that a client has enqueued."""

    def __init__(self, services: Services) -> None:
        self._backend, self._client = services.backend, services.require_client()
        self.actor = f"client:{self._client.name}"
        self.scope = f"client:{self._client.id}"

    def enqueue(self, jobs: Sequence[NewJob], key: Key | None) -> tuple[UUID, ...]:
        return producing.enqueue_for_client(self._backend, self._client, jobs, key=key)

    def find(self, job_id: UUID) -> Job | None:
        return self._backend.find_job(job_id, producing.of_client(self._client))

    def children(self, job_id: UUID) -> Sequence[UUID]:
        return self._backend.children(job_id, producing.of_client(self._client))


class Children:
    """Those that the task under a lease has enqueued."""

    def __init__(self, services: Services, lease_id: UUID) -> None:
        self._backend, self._worker, self._lease_id = services.backend, require_caller(services), lease_id
        self.actor = f"worker:{self._worker.name}"

    @property
    def scope(self) -> str:
        """That of the leased job: all of its tries share it."""
        return f"job:{producing.parent_id(self._backend, self._worker, self._lease_id)}"

    def enqueue(self, jobs: Sequence[NewJob], key: Key | None) -> tuple[UUID, ...]:
        return producing.enqueue_under_lease(self._backend, self._worker, self._lease_id, jobs, key=key)

    def find(self, job_id: UUID) -> Job | None:
        return producing.child(self._backend, self._worker, self._lease_id, job_id)

    def children(self, job_id: UUID) -> Sequence[UUID]:
        parent_id = producing.parent_id(self._backend, self._worker, self._lease_id)
        return self._backend.children(job_id, producing.of_parent(parent_id))
