"""`SqlBackend`: the store of jobs, in the server's process. A façade over the modules beside it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import ColumnElement, select

from outsourced.backend import HOST_SESSION
from outsourced.errors import BackendUnavailable, ConfigurationError
from outsourced.records import (
    Changes,
    ExchangeReply,
    ExchangeRequest,
    Job,
    NewJob,
    Origin,
    Owner,
    StoredFile,
    Transition,
    WorkerIdentity,
)
from outsourced.shown import WorkerInfo
from outsourced.sql import (
    cancelling,
    enqueue,
    exchange,
    files,
    groups,
    jobs,
    joining,
    limits,
    overview,
    queues,
    retention,
    workers,
)
from outsourced.sql.database import Database
from outsourced.sql.enqueue import Answer
from outsourced.sql.instances import Instances
from outsourced.sql.limits import Limits
from outsourced.sql.models import Hire, Queue
from outsourced.sql.names import Names
from outsourced.sql.retention import RETENTION, Retention
from outsourced.states import TERMINAL, State
from outsourced.storage import Storage

log = logging.getLogger(__name__)

#: how long a lease is good without being renewed
LEASE_TTL = timedelta(seconds=60)
#: seconds between two looks at a job whose end is awaited: from, to
WAIT_FROM, WAIT_TO = 0.01, 0.5


def _no_session() -> Any:
    raise ConfigurationError("there is no db.session here: name one by session=")


class SqlBackend:
    """Implements `backend.Producer`, and the exchange of workers whose identity was verified.

    `notify` is called after each commit that made jobs claimable or has word for workers;
    `host_session` gives the session that `delay_on_commit` joins.
    """

    def __init__(
        self,
        database: Database,
        *,
        storage: Storage | None = None,
        max_attachment: int | None = None,
        lease_ttl: timedelta = LEASE_TTL,
        retention: Retention = RETENTION,
        notify: Callable[[Changes], None] = lambda changes: None,
        host_session: Callable[[], Any] = _no_session,
        actor: str = "server",
        default_queue: str | None = None,
        owner_limits: Mapping[str, int] | None = None,
    ) -> None:
        self.database = database
        self.storage = storage
        self.max_attachment = max_attachment
        self.lease_ttl = lease_ttl
        self.retention = retention
        self.notify = notify
        self.host_session = host_session
        self.actor = actor
        self.owner_limits = dict(owner_limits or {})
        self.limits = Limits(database)
        self.names = Names(database, default_queue=default_queue)
        self.instances = Instances()
        self._known_to_be_used: set[str] = set()

    def enqueue(self, new_jobs: Sequence[NewJob], *, session: Any = None, actor: str | None = None) -> None:
        self.enqueue_for(Origin(actor=actor or self.actor), new_jobs, session=session)
        if actor is None:  # a person is told by the command
            with suppress(BackendUnavailable):  # the jobs are stored, whatever becomes of this look
                self._mention_unworked({job.queue for job in new_jobs})

    def enqueue_for(
        self,
        origin: Origin,
        new_jobs: Sequence[NewJob],
        *,
        session: Any = None,
        answer: Answer | None = None,
    ) -> None:
        """As `enqueue`, for somebody else; keeps the answer, and raises Answered if there was one."""
        if session is not None:
            session = self.host_session() if session is HOST_SESSION else session
            joining.enqueue(self, session, new_jobs, origin=origin)
        else:
            self.tell(enqueue.enqueue(self, new_jobs, origin=origin, answer=answer))

    def job(self, job_id: UUID) -> Job | None:
        return jobs.find(self, job_id)

    def find_job(self, job_id: UUID, *conditions: ColumnElement[bool]) -> Job | None:
        """The job, if it meets the conditions."""
        return jobs.find(self, job_id, *conditions)

    def jobs(
        self,
        *,
        queue: str | None = None,
        state: State | None = None,
        task: str | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """The newest jobs first, without arguments and results."""
        return jobs.listing(self, queue=queue, state=state, task=task, limit=limit)

    def count_of(self, owner: Owner) -> Mapping[State, int]:
        return jobs.count_of(self, owner)

    def jobs_of(self, owner: Owner) -> Iterator[Job]:
        return jobs.of_owner(self, owner)

    def cancel_of(self, owner: Owner) -> tuple[int, int]:
        of = {"owner_type": owner.type, "owner_id": owner.id}
        return cancelling.cancel_all(self, of, held="cancel", actor=self.actor)

    def history(self, job_id: UUID) -> Sequence[Transition]:
        return jobs.history(self, job_id)

    def wait(self, job_id: UUID, timeout: float) -> Job | None:
        deadline = time.monotonic() + timeout
        pause = WAIT_FROM
        while True:
            job = self.job(job_id)
            left = deadline - time.monotonic()
            if job is None or job.state in TERMINAL or left <= 0:
                return job
            time.sleep(min(pause, left))
            pause = min(WAIT_TO, pause * 1.5)

    def cancel(self, job_id: UUID, *, unless_begun: bool = False, actor: str | None = None) -> Job | None:
        self.tell(jobs.cancel(self, job_id, unless_begun=unless_begun, actor=actor or self.actor))
        return self.job(job_id)

    def children(self, job_id: UUID, *conditions: ColumnElement[bool]) -> Sequence[UUID]:
        """As every Producer's, of those that meet the conditions."""
        return jobs.children(self, job_id, *conditions)

    def forget(self, job_id: UUID) -> Job | None:
        retention.forget_result(self, job_id)
        return self.job(job_id)

    def save_group(self, group_id: UUID, members: str, *, scope: str = groups.SERVER) -> None:
        groups.save(self, group_id, members, scope=scope)

    def group(self, group_id: UUID, *, scope: str = groups.SERVER) -> str | None:
        return groups.find(self, group_id, scope=scope)

    def forget_group(self, group_id: UUID, *, scope: str = groups.SERVER) -> None:
        groups.forget(self, group_id, scope=scope)

    def requeue(self, job_id: UUID, *, actor: str | None = None) -> Job:
        """Tries an ended job again; raises NotFound, InvalidTransition or QueueFull."""
        self.notify_of(jobs.requeue(self, job_id, actor=actor or self.actor))
        job = self.job(job_id)
        assert job is not None
        return job

    def open_file(self, job_id: UUID, name: str) -> AbstractContextManager[BinaryIO]:
        _, key = files.result(self, job_id, name)
        return files.open_bytes(self, key)

    def saved_file(self, job_id: UUID, name: str) -> tuple[StoredFile, UUID]:
        """A file that the job's task saved, and its key in storage; raises NotFound."""
        return files.result(self, job_id, name)

    def exchange(self, worker: WorkerIdentity, request: ExchangeRequest) -> ExchangeReply:
        """Answers at once, whatever `request.wait` says: waiting is the server's."""
        return exchange.exchange(self, worker, request)

    def queues_of(self, worker: WorkerIdentity) -> frozenset[str]:
        """The queues the worker may claim from now: what it waits for."""
        with self.database.connect() as connection:
            return frozenset(
                connection.scalars(
                    select(Queue.name)
                    .join(Hire, Hire.queue_id == Queue.id)
                    .where(Hire.worker_id == worker.id, Queue.paused.is_(False))
                )
            )

    def staff(self) -> Sequence[WorkerInfo]:
        return overview.workers(self.database)

    def known_tasks(self) -> Mapping[str, Sequence[str]]:
        return overview.known_tasks(self.database)

    def empty_queues(self) -> int:
        """Empties all queues, as people do."""
        names = [queue.name for queue in overview.queues(self.database)]
        return sum(queues.empty(self, name, actor=self.actor).cancelled for name in names)

    def hire(self, worker: str, queue: str) -> None:
        workers.hire(self, worker, queue, actor=self.actor)

    def fire(self, worker: str, queue: str) -> None:
        workers.fire(self, worker, queue, actor=self.actor)

    def limit_task(self, task: str, limit: str | float | None) -> None:
        limits.limit_task(self, task, limit, actor=self.actor)

    def limit_queue(self, queue: str, limit: str | float | None) -> None:
        limits.limit_queue(self, queue, limit, actor=self.actor)

    def attachment(self, worker: WorkerIdentity, lease_id: UUID) -> tuple[StoredFile, UUID]:
        """The attachment of the job under this lease and its key in storage; raises LeaseLost or NotFound."""
        return files.attachment(self, worker, lease_id)

    def require_lease(self, worker: WorkerIdentity, lease_id: UUID) -> None:
        """Raises LeaseLost or NotFound unless the worker holds this lease now."""
        files.require_lease(self, worker, lease_id)

    def save_file(self, worker: WorkerIdentity, lease_id: UUID, name: str, **stored: Any) -> StoredFile:
        """Adds a result file whose bytes are stored already: key, size, sha256, content_type."""
        return files.save(self, worker, lease_id, name=name, **stored)

    def changes(self, moved: Iterable[tuple[Any, ...]]) -> Changes:
        """What moved rows made worth waking for."""
        ready = Counter((row[2], row[3]) for row in moved if row[1] == State.UNASSIGNED)
        return Changes(ready=dict(zip(self.names.pairs(ready), ready.values(), strict=True)))

    def notify_of(self, moved: Iterable[tuple[Any, ...]]) -> None:
        """Wakes whom these moves concern."""
        self.tell(self.changes(moved))

    def tell(self, changes: Changes) -> None:
        """Wakes whom these changes concern."""
        if changes.ready or changes.workers:
            self.notify(changes)

    def _mention_unworked(self, used: set[str | None]) -> None:
        """Logs, once a process, that nobody works a queue that is enqueued into."""
        new = {self.names.queue(name).name for name in used} - self._known_to_be_used
        for name in sorted(new):
            self._known_to_be_used.add(name)
            if not queues.is_worked(self.database, name):
                log.warning(
                    "nobody is hired for queue %r, into which jobs are enqueued: "
                    "`flask outsourcer queue hire %s WORKER`",
                    name,
                    name,
                )

    def require_storage(self) -> Storage:
        """Where the bytes of files are; raises ConfigurationError where there is no such place."""
        return files.needed(self.storage)
