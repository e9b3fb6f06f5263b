"""The suite on `MemoryBackend`."""

from __future__ import annotations

from uuid import UUID

import pytest

from outsourced.backend import Consumer
from outsourced.errors import UnknownQueue
from outsourced.records import Job
from outsourced.testing import MemoryBackend
from tests.backends.stage import OWNER_LIMITS, JobsOfFired, staff
from tests.backends.suite import *  # noqa: F403


class MemoryStage:
    """A `MemoryBackend`, which has people's verbs itself."""

    actor = "server"
    refuses_unknown_queues = UnknownQueue

    def __init__(self) -> None:
        self._backend = MemoryBackend(default_queue="plain", owner_limits=OWNER_LIMITS)
        self.producer = self.owners = self._backend
        self._workers, self._queues = self._backend.workers, self._backend.queues
        self.hire, self.lock, self.unlock = self._workers.hire, self._workers.lock, self._workers.unlock
        self.pause, self.resume = self._workers.pause, self._workers.resume
        self.pause_queue, self.resume_queue = self._queues.pause, self._queues.resume
        self.limit_task, self.limit_queue = self._backend.limit_task, self._backend.limit_queue
        for name in ("near", "far"):
            self._workers.create(name)

    def consumer(self, worker: str) -> Consumer:
        return self._backend.consumer(worker)

    def create_queue(self, name: str, capacity: int | None = None) -> None:
        self._queues.create(name, capacity=capacity)

    def fire(self, worker: str, queue: str, jobs: JobsOfFired = "finish") -> None:
        self._workers.fire(worker, queue, jobs=jobs)

    def retry(self, job_id: UUID) -> Job:
        return self._backend.retry(job_id)

    def pass_time(self, seconds: float) -> None:
        self._backend.pass_time(seconds)

    def tick(self) -> None:
        self._backend.tick()


@pytest.fixture
def stage() -> MemoryStage:
    stage = MemoryStage()
    staff(stage)
    return stage
