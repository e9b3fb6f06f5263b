"""A stage over `SqlBackend`: producers and workers in the server's process."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID

from outsourced.backend import Consumer, Producer
from outsourced.errors import OutsourcedError, UnknownQueue
from outsourced.records import Job
from outsourced.sql import maintenance, queues, workers
from outsourced.sql.backend import SqlBackend
from outsourced.sql.consumer import SqlConsumer
from outsourced.sql.database import Database
from outsourced.storage import LocalStorage
from tests.backends.stage import ADMIN, OWNER_LIMITS, JobsOfFired


class SqlStage:
    """A migrated database, and the verbs of `outsourced.sql`."""

    actor = "server"
    refuses_unknown_queues: type[OutsourcedError] = UnknownQueue

    def __init__(self, backend: SqlBackend) -> None:
        self._backend = backend
        self.producer: Producer = backend
        self.owners = backend
        self.create_queue("plain")
        for name in ("near", "far"):
            workers.create(backend, name, actor=ADMIN)

    @classmethod
    def on(cls, database: Database, folder: Path) -> SqlStage:
        """A stage on this database, with files in the folder."""
        return cls(SqlBackend(database, storage=LocalStorage(folder / "files"), owner_limits=OWNER_LIMITS))

    def consumer(self, worker: str) -> Consumer:
        return SqlConsumer(self._backend, worker)

    def create_queue(self, name: str, capacity: int | None = None) -> None:
        queues.create(self._backend, name, capacity=capacity, actor=ADMIN)

    def pause_queue(self, name: str) -> None:
        queues.pause(self._backend, name, actor=ADMIN)

    def resume_queue(self, name: str) -> None:
        queues.resume(self._backend, name, actor=ADMIN)

    def hire(self, worker: str, queue: str) -> None:
        workers.hire(self._backend, worker, queue, actor=ADMIN)

    def fire(self, worker: str, queue: str, jobs: JobsOfFired = "finish") -> None:
        workers.fire(self._backend, worker, queue, jobs=jobs, actor=ADMIN)

    def lock(self, worker: str) -> None:
        workers.lock(self._backend, worker, actor=ADMIN)

    def unlock(self, worker: str) -> None:
        workers.unlock(self._backend, worker, actor=ADMIN)

    def pause(self, worker: str) -> None:
        workers.pause(self._backend, worker, actor=ADMIN)

    def resume(self, worker: str) -> None:
        workers.resume(self._backend, worker, actor=ADMIN)

    def retry(self, job_id: UUID) -> Job:
        return self._backend.requeue(job_id, actor=ADMIN)

    def limit_task(self, task: str, limit: str | float | None) -> None:
        self._backend.names.task_id(task)  # as one that was enqueued before
        self._backend.limit_task(task, limit)

    def limit_queue(self, queue: str, limit: str | float | None) -> None:
        self._backend.limit_queue(queue, limit)

    def pass_time(self, seconds: float) -> None:
        self._backend.database.clock_offset += timedelta(seconds=seconds)

    def tick(self) -> None:
        for duty in (maintenance.promote, maintenance.rescue, maintenance.expire):
            duty(self._backend)
