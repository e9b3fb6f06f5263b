"""What a test sees of the jobs it enqueues: the fixture `outsourced_jobs`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from outsourced.backend import Producer
from outsourced.payload import decode_call
from outsourced.records import Job, Lease, NewJob
from outsourced.remotes import RemoteTask
from outsourced.testing.backend import MemoryBackend
from outsourced.testing.consumer import MemoryConsumer


class Noting:
    """A backend that takes a note of what is enqueued with it; in all else the one it is given."""

    def __init__(self, inner: Producer, notes: list[NewJob]) -> None:
        self._inner = inner
        self._notes = notes

    def enqueue(self, jobs: Sequence[NewJob], *, session: Any = None) -> None:
        self._inner.enqueue(jobs, session=session)
        self._notes.extend(jobs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class NotingMemory(MemoryBackend):
    """A store in memory, of whose tasks' children a note is taken too."""

    def __init__(self, notes: list[NewJob]) -> None:
        super().__init__()
        self._notes = notes

    def _producer_of(self, consumer: MemoryConsumer, lease: Lease) -> Producer:
        return Noting(super()._producer_of(consumer, lease), self._notes)


class EnqueuedJobs:
    """The jobs this test has enqueued, its views and tasks included. Nothing runs before `drain`."""

    def __init__(
        self, notes: list[NewJob], *, drain: Callable[[], list[Job]], pass_time: Callable[[timedelta], None]
    ) -> None:
        self._notes, self._drain, self._pass_time = notes, drain, pass_time

    def __len__(self) -> int:
        return len(self._notes)

    def of(self, task: Any = None) -> list[NewJob]:
        """As they were enqueued, oldest first; those of this task, or of its name."""
        name = task.name if isinstance(task, RemoteTask) else task
        return [job for job in self._notes if name is None or job.task == name]

    def assert_enqueued(
        self,
        task: Any,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        times: int | None = None,
    ) -> NewJob:
        """Asserts that such a job was enqueued, or just so many; gives the last one. What is None, is any."""
        found = [job for job in self.of(task) if _fits(job, args, kwargs, queue)]
        number = len(found)
        if number == 0 if times is None else number != times:
            wanted = _shown(task.name if isinstance(task, RemoteTask) else str(task), args, kwargs, queue)
            expected = "" if times is None else f" {times} times but {number}"
            there = "".join(f"\n  {_described(job)}" for job in self._notes) or " nothing"
            raise AssertionError(f"{wanted} was not enqueued{expected}; enqueued were:{there}")
        return found[-1]

    def assert_not_enqueued(self, task: Any = None) -> None:
        """Asserts that no job was enqueued, or none of this task."""
        if found := self.of(task):
            raise AssertionError("enqueued were:" + "".join(f"\n  {_described(job)}" for job in found))

    def drain(self) -> list[Job]:
        """Runs what is ready, and what that enqueues, in this thread; gives the jobs as they ended."""
        return self._drain()

    def pass_time(self, time: timedelta | float) -> None:
        """Moves the clock on, by a duration or by seconds, so that later jobs and schedules become due."""
        self._pass_time(time if isinstance(time, timedelta) else timedelta(seconds=time))


def _fits(
    job: NewJob, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, queue: str | None
) -> bool:
    has_args, has_kwargs, _ = decode_call(job.payload)
    return (
        (args is None or list(args) == has_args)
        and (kwargs is None or dict(kwargs) == has_kwargs)
        and (queue is None or queue == job.queue)
    )


def _described(job: NewJob) -> str:
    args, kwargs, _ = decode_call(job.payload)
    return _shown(job.task, args, kwargs, job.queue)


def _shown(task: str, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, queue: str | None) -> str:
    given = ["…"] if args is None and kwargs is None else [repr(arg) for arg in args or ()]
    given += [f"{name}={value!r}" for name, value in (kwargs or {}).items()]
    return f"{task}({', '.join(given)})" + (f" in {queue}" if queue else "")
