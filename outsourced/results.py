"""What became of a job: its state, result, error and files, asked of the backend each time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar, cast
from uuid import UUID

from outsourced.backend import Producer, current
from outsourced.calls import job_id
from outsourced.celery_states import PROPAGATE_STATES
from outsourced.context import current_call
from outsourced.descent import Descent
from outsourced.errors import NotFound, TimeoutError
from outsourced.failures import error_of
from outsourced.payload import DecodedCall, decode, decode_call
from outsourced.records import Job, StoredFile, Transition
from outsourced.states import TERMINAL, State, celery_state

R = TypeVar("R")

#: what is called with a result whose end was seen, and with the exception it raises
Callbacks = tuple[Callable[[Any], object], Callable[[Any], object] | None]

#: seconds: the longest single wait of `get`; an end in between is noticed at once all the same
WAIT_SLICE = 10.0


class AsyncResult(Descent, Generic[R]):
    """A job as its producer sees it. An id nobody knows is PENDING, does not `exists()`, and `get` raises."""

    TimeoutError = TimeoutError

    def __init__(
        self,
        id: str | UUID,
        backend: object = None,
        task_name: str | None = None,
        app: object = None,
        parent: Any = None,
        *,
        producer: Producer | None = None,
    ) -> None:
        """`producer` knows the job; None: the one in force where it is asked. `parent`: what came before.

        `backend`, `task_name` and `app` are Celery's, and say nothing here.
        """
        self.id = str(id)
        self.parent = parent
        self.job_id = job_id(id)
        self._given = producer
        self._callbacks: list[Callbacks] = []
        self._end: tuple[BaseException | None] | None = None  #: seen by `get`: what it raised

    def __repr__(self) -> str:
        return f"<AsyncResult {self.id}>"

    def __str__(self) -> str:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncResult) and other.job_id == self.job_id

    def __hash__(self) -> int:
        return hash(self.job_id)

    @property
    def task_id(self) -> str:
        """The id."""
        return self.id

    @property
    def _producer(self) -> Producer:
        return self._given or current()

    @property
    def job(self) -> Job | None:
        """All that is known of the job now; None if there is no such job."""
        return self._producer.job(self.job_id)

    def exists(self) -> bool:
        """Whether there is such a job, which PENDING does not tell."""
        return self.job is not None

    @property
    def state(self) -> str:
        """Celery's name of the job's state, or the one that its task says it is in."""
        job = self.job
        return "PENDING" if job is None else _shown(job)

    status = state

    def ready(self) -> bool:
        """Whether the job has ended."""
        job = self.job
        return job is not None and job.state in TERMINAL

    def successful(self) -> bool:
        """Whether the job has ended well."""
        return self.state == "SUCCESS"

    def failed(self) -> bool:
        """Whether the job has failed for good."""
        return self.state == "FAILURE"

    @property
    def result(self) -> R | BaseException | None:
        """The task's return value, or the exception that ended it or has it tried again, or None.

        While a worker has it, what the task tells of itself; until it does, a dict with `hostname`.
        """
        job = self.job
        if job is None:
            return None
        if _has_value(job):
            return cast(R, _value(job))
        if job.progress is not None:
            return cast(R, decode(job.progress.meta))
        if job.state in TERMINAL or job.state is State.RETRYING:
            return error_of(job)
        if job.state in (State.ASSIGNED, State.WORKING):  # views ask .info.get(…) in any state but PENDING
            return cast(R, {"hostname": job.worker})
        return None

    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback of the last failure, as text."""
        job = self.job
        if job is None or job.error is None or job.result_pruned:
            return None
        return job.error.traceback

    @property
    def date_done(self) -> datetime | None:
        """When the job ended."""
        job = self.job
        return job.ended_at if job is not None else None

    @property
    def name(self) -> str | None:
        """The name of the task."""
        job = self.job
        return job.task if job is not None else None

    @property
    def args(self) -> list[Any] | None:
        """The positional arguments; None where there is no such job, or they are no longer kept."""
        call = self._call
        return None if call is None else call.args

    @property
    def kwargs(self) -> dict[str, Any] | None:
        """The arguments by name; None likewise."""
        call = self._call
        return None if call is None else call.kwargs

    @property
    def _call(self) -> DecodedCall | None:
        job = self.job
        return None if job is None or job.payload is None else decode_call(job.payload)

    @property
    def worker(self) -> str | None:
        """The worker that has the job, or had it last."""
        job = self.job
        return job.worker if job is not None else None

    @property
    def queue(self) -> str | None:
        """The queue the job is in."""
        job = self.job
        return job.queue if job is not None else None

    @property
    def retries(self) -> int | None:
        """How often the task has failed and was tried again."""
        job = self.job
        return job.failures if job is not None else None

    @property
    def history(self) -> Sequence[Transition]:
        """Everything that happened to the job, oldest first."""
        return self._producer.history(self.job_id)

    @property
    def files(self) -> Mapping[str, ResultFile]:
        """The files that the task saved, by name."""
        job = self.job
        return (
            {}
            if job is None
            else {stored.name: ResultFile(job.id, stored, self._producer) for stored in job.files}
        )

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        interval: float | None = None,
        *,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """Waits for the result. `interval`, Celery's polling time, here only bounds a single wait.

        Raises NotFound for an id nobody knows, TimeoutError after `timeout` seconds, RuntimeError
        inside a task, ResultPruned, and what the task raised; with `propagate=False` gives the last
        two back instead.
        """
        if disable_sync_subtasks:
            self.require_waiting_allowed()
        job = self._wait(timeout, interval or WAIT_SLICE)
        value, error = (_value(job), None) if _has_value(job) else (None, error_of(job))
        self._see_end(error)
        if error is not None and propagate:
            raise error
        return cast(R, value if error is None else error)

    wait = get

    def then(
        self, callback: Callable[[Any], object], on_error: Callable[[Any], object] | None = None
    ) -> None:
        """Has `callback` called with this result when `get` has seen its end; after a failure `on_error` too.

        As in Celery `callback` hears of failures, too. `on_error` is given what `get` raises.
        """
        if self._end is None:
            self._callbacks.append((callback, on_error))
        else:
            self._call_back(callback, on_error, self._end[0])

    def _see_end(self, error: BaseException | None) -> None:
        """Calls those back who wait for it."""
        self._end = (error,)
        callbacks, self._callbacks = self._callbacks, []
        for callback, on_error in callbacks:
            self._call_back(callback, on_error, error)

    def _call_back(
        self,
        callback: Callable[[Any], object],
        on_error: Callable[[Any], object] | None,
        error: BaseException | None,
    ) -> None:
        callback(self)
        if error is not None and on_error is not None:
            on_error(error)

    def maybe_throw(
        self,
        propagate: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        callback: Callable[[str, Any], object] | None = None,
    ) -> Any:
        """What `result` is now; raises it where the job has failed. Does not wait."""
        value, state = self.result, self.state
        if propagate and state in PROPAGATE_STATES and isinstance(value, BaseException):
            raise value
        if callback is not None:
            callback(self.id, value)
        return value

    maybe_reraise = maybe_throw

    @property
    def children(self) -> list[AsyncResult[Any]]:
        """The results of what its task has enqueued, and of what comes after it in a canvas; oldest first."""
        found = self._producer.children(self.job_id)
        return [AsyncResult(job_id, producer=self._given, parent=self) for job_id in found]

    def as_list(self) -> list[str]:
        """The ids from here all the way up."""
        return [self.id, *([] if self.parent is None else self.parent.as_list())]

    def as_tuple(self) -> tuple[Any, ...]:
        """Ids all the way up, for `result_from_tuple`: JSON carries it."""
        return (self.id, None if self.parent is None else self.parent.as_tuple()), None

    @staticmethod
    def require_waiting_allowed() -> None:
        """Raises RuntimeError inside a task, which would keep its slot from the job it waits for."""
        call = current_call()
        if call is not None and not call.may_wait:
            raise RuntimeError(
                "waiting for a result inside a task blocks its slot: let the job end, or chain them"
            )

    def revoke(self, *, terminate: bool = False, signal: str | None = None) -> bool:
        """Cancels the job if it has not begun; with `terminate` asks its worker to stop it, too.

        Gives whether it is cancelled, or will be. `signal` is Celery's: a task that runs is stopped as its
        worker's pool can, with its process.
        """
        job = self._producer.cancel(self.job_id, unless_begun=not terminate)
        if job is None or job.state in TERMINAL:
            return job is not None and job.state is State.CANCELLED
        return job.cancel_requested_at is not None

    def forget(self) -> None:
        """Has the result of an ended job kept no longer, and those above it: `get` raises ResultPruned.

        The history stays, and so does what another job is still to be given.
        """
        if self.parent is not None:
            self.parent.forget()
        self._producer.forget(self.job_id)

    def _wait(self, timeout: float | None, longest: float) -> Job:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = longest if deadline is None else deadline - time.monotonic()
            job = self._producer.wait(self.job_id, max(0.0, min(left, longest)))
            if job is None:
                raise NotFound(f"there is no job {self.id}", job_id=str(self.job_id))
            if job.state in TERMINAL:
                return job
            if left <= 0:
                raise TimeoutError(
                    f"job {self.id} is {job.state} after {timeout:g} s",
                    job_id=str(self.job_id),
                    state=job.state,
                )


class ResultFile:
    """A file that a task saved with its job."""

    def __init__(self, job_id: UUID, stored: StoredFile, producer: Producer) -> None:
        self._job_id = job_id
        self._producer = producer
        self._stored = stored

    def __repr__(self) -> str:
        return f"<ResultFile {self.name} {self.size:,} bytes>"

    @property
    def name(self) -> str:
        return self._stored.name

    @property
    def size(self) -> int:
        """Bytes."""
        return self._stored.size

    @property
    def sha256(self) -> str:
        return self._stored.sha256

    @property
    def content_type(self) -> str:
        return self._stored.content_type

    def open(self) -> AbstractContextManager[BinaryIO]:
        """A binary stream of the content, for a `with` block."""
        return self._producer.open_file(self._job_id, self.name)

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes the content to `path`, or under its own name into that folder."""
        target = Path(path)
        if target.is_dir():
            target /= Path(self.name).name
        with self.open() as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        return target


def _shown(job: Job) -> str:
    return celery_state(job.state) if job.progress is None else job.progress.state


def _has_value(job: Job) -> bool:
    return job.state is State.COMPLETED and not job.result_pruned


def _value(job: Job) -> Any:
    return None if job.result is None else decode(job.result)
