"""The roles a store of jobs plays, and the slot that holds the one in force.

`Producer` puts jobs in and looks at them, `Consumer` is a worker's side of the exchange. People's
verbs (hire, fire, lock, …) are the server's own, in `outsourced.sql`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable
from uuid import UUID

from outsourced.errors import ConfigurationError
from outsourced.records import (
    ExchangeReply,
    ExchangeRequest,
    Job,
    Lease,
    NewJob,
    Owner,
    StoredFile,
    Transition,
)
from outsourced.shown import WorkerInfo
from outsourced.states import State

#: the `db.session` of the app in which a job is enqueued
HOST_SESSION: Any = object()


@runtime_checkable
class Producer(Protocol):
    """Enqueues jobs and tells how they fare."""

    def enqueue(self, jobs: Sequence[NewJob], *, session: Any = None) -> None:
        """Stores all jobs, or none; raises QueueFull, UnknownQueue, QueueBusy or BackendUnavailable.

        With a SQLAlchemy `session` they exist if, and only if, its transaction commits; `HOST_SESSION`
        stands for the app's own. Raises ConfigurationError where there is no such session.
        """

    def job(self, job_id: UUID) -> Job | None:
        """The job with its result and files; None when there is none of this id."""

    def history(self, job_id: UUID) -> Sequence[Transition]:
        """The job's transitions, oldest first; empty when there is none of this id."""

    def wait(self, job_id: UUID, timeout: float) -> Job | None:
        """The job once it has ended, or as it stands after `timeout` seconds."""

    def cancel(self, job_id: UUID, *, unless_begun: bool = False) -> Job | None:
        """Cancels the job, or asks its worker to stop; gives the job as it then stands.

        `unless_begun` leaves one alone of which a worker has said that it has begun.
        """

    def children(self, job_id: UUID) -> Sequence[UUID]:
        """What the job's task has enqueued, and what comes after the job in a canvas; oldest first."""

    def forget(self, job_id: UUID) -> Job | None:
        """Keeps no result of an ended job, as if its time were over; gives the job as it then stands.

        What another job is still to be given stays.
        """

    def save_group(self, group_id: UUID, members: str) -> None:
        """Keeps the ids of a group's results, as JSON text, for whoever restores it."""

    def group(self, group_id: UUID) -> str | None:
        """What was saved under this id; None where nothing was."""

    def forget_group(self, group_id: UUID) -> None:
        """Keeps the group no longer; its jobs stay."""

    def open_file(self, job_id: UUID, name: str) -> AbstractContextManager[BinaryIO]:
        """A stream of a file the job's task saved; raises NotFound."""


@runtime_checkable
class OwnerView(Protocol):
    """Looks at the jobs of one owner, and cancels them. Not every Producer can."""

    def count_of(self, owner: Owner) -> Mapping[State, int]:
        """How many jobs the owner has in each state it has any in."""

    def jobs_of(self, owner: Owner) -> Iterator[Job]:
        """The owner's jobs, newest first, without arguments and results."""

    def cancel_of(self, owner: Owner) -> tuple[int, int]:
        """Cancels the owner's jobs: how many are cancelled, and how many workers are asked to stop."""


@runtime_checkable
class Overseer(Protocol):
    """Knows what all workers do. The server is one."""

    def jobs(self, *, state: State | None = None, limit: int = 50) -> Sequence[Job]:
        """The newest jobs first, without arguments and results."""

    def job(self, job_id: UUID) -> Job | None:
        """The job with its arguments; None when there is none of this id."""

    def staff(self) -> Sequence[WorkerInfo]:
        """All workers, with their queues and last contact."""

    def known_tasks(self) -> Mapping[str, Sequence[str]]:
        """By the worker's name, the tasks its processes last said they know."""

    def empty_queues(self) -> int:
        """Cancels all jobs that no worker has in hand; gives how many."""


@runtime_checkable
class Limiter(Protocol):
    """Limits how many jobs are begun in a time, on all workers together: `10/m`, or a number a second."""

    def limit_task(self, task: str, limit: str | float | None) -> None:
        """Limits a task from now on; 0: not at all, None: as its code says. Raises NotFound or ValueError."""

    def limit_queue(self, queue: str, limit: str | float | None) -> None:
        """Limits a queue, likewise; 0 and None: not at all. Raises UnknownQueue or ValueError."""


@runtime_checkable
class Foreman(Protocol):
    """Says who works which queue. The server is one."""

    def staff(self) -> Sequence[WorkerInfo]:
        """All workers, with their queues and last contact."""

    def hire(self, worker: str, queue: str) -> None:
        """Lets the worker work the queue too; raises NotFound or UnknownQueue."""

    def fire(self, worker: str, queue: str) -> None:
        """Takes the queue from the worker, which finishes what it has begun; raises likewise."""


class Consumer(Protocol):
    """A worker's side: claims, settles, and moves files, all under its leases."""

    def exchange(self, request: ExchangeRequest) -> ExchangeReply:
        """Records outcomes, begins and heartbeats, then claims; waits as the request says.

        Raises AuthenticationFailed, WorkerLocked, WorkerTooOld, or BackendUnavailable, after which
        the very same request may be sent again.
        """

    def fetch_attachment(self, lease: Lease, target: Path) -> None:
        """Writes the job's attachment to `target`, its digest verified; raises LeaseLost or NotFound."""

    def save_file(self, lease: Lease, name: str, source: Path, content_type: str) -> StoredFile:
        """Stores a result file under the lease, its digest verified; raises LeaseLost."""

    def producer(self, lease: Lease) -> Producer:
        """What the task under this lease enqueues its children with.

        Elsewhere it knows no other jobs; in the server's process it is the whole backend.
        """

    def close(self) -> None:
        """Ends idle connections."""


_in_force: ContextVar[Producer | None] = ContextVar("outsourced_backend", default=None)
_providers: list[Callable[[], Producer | None]] = []


def current() -> Producer:
    """The backend in force here; raises ConfigurationError where there is none."""
    backend = _in_force.get()
    if backend is not None:
        return backend
    for provide in _providers:
        backend = provide()
        if backend is not None:
            return backend
    raise ConfigurationError(
        "no outsourced backend is in force here: enqueue inside `with app.app_context():` of a Flask app "
        "that has `app.register_blueprint(outsourced.bp, url_prefix='/outsourced')`"
    )


@contextmanager
def use(backend: Producer) -> Iterator[None]:
    """Puts a backend in force inside the block, in this context only."""
    token = _in_force.set(backend)
    try:
        yield
    finally:
        _in_force.reset(token)


def add_provider(provide: Callable[[], Producer | None]) -> None:
    """Registers how to find the backend where none is set explicitly."""
    if provide not in _providers:
        _providers.append(provide)
