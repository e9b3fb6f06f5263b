"""What runs here: the current job, the current task and the request it answers.

A context variable holds the innermost call. A thread that a task starts sees it too if it is run with
`contextvars.copy_context().run`.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import cache, cached_property
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from uuid import UUID

from outsourced import clock
from outsourced.attachments import guess_content_type
from outsourced.backend import Producer, add_provider
from outsourced.errors import NotFound
from outsourced.progress import PROGRESS, progress_of
from outsourced.records import Failure, Lease, Owner, Progress, StoredFile
from outsourced.request import Request
from outsourced.workdir import Workdir

if TYPE_CHECKING:
    from outsourced.exceptions import Retry
    from outsourced.tasks import Task

log = logging.getLogger(__name__)

#: takes what a task says of itself while it runs
Tell = Callable[[Progress], None]

_NO_EXTRAS: Mapping[str, Any] = MappingProxyType({})


class LeaseSide(Protocol):
    """The part of a Consumer that a task at work uses: its job's files, and jobs of its own."""

    def fetch_attachment(self, lease: Lease, target: Path) -> None:
        """Writes the job's attachment to `target`, its digest verified."""

    def save_file(self, lease: Lease, name: str, source: Path, content_type: str) -> StoredFile:
        """Stores a result file under the lease."""

    def producer(self, lease: Lease) -> Producer:
        """What the task enqueues with."""


def untold(_progress: Progress) -> None:
    """Nobody is told."""


class Call:
    """One call of a task: inline, eager when `request` is given, or under the lease of a job."""

    __slots__ = (
        "_entered",
        "_request",
        "args",
        "exhausted",
        "extras",
        "job",
        "kwargs",
        "lease",
        "max_retries",
        "may_wait",
        "outer",
        "task",
        "told_failure",
        "wish",
    )

    def __init__(
        self,
        task: Task[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        job: RunningJob | None = None,
        extras: Mapping[str, Any] = _NO_EXTRAS,
        request: Request | None = None,
        may_wait: bool = True,
    ) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.extras = extras
        self.outer = _current.get()
        self.lease = job.lease if job is not None else None
        # a task called inline from another works on that one's job
        self.job: RunningJob | None = job if job is not None or self.outer is None else self.outer.job
        self.may_wait: bool = may_wait and self.job is None and (self.outer is None or self.outer.may_wait)
        self.max_retries = task.max_retries if self.lease is None else self.lease.max_retries
        self.wish: Retry | None = None  #: from `retry(throw=False)`
        self.told_failure: Failure | None = None  #: what it fails with, if it raises Ignore
        self.exhausted = False  #: `retry` found no try left
        self._request = request
        self._entered = False

    def run(self) -> Any:
        """The task's return value; what it raises passes through."""
        token = _current.set(self)
        try:
            if self.task.has_own_call:
                return self.task(*self.args, **self.kwargs)
            self._entered = True
            return self.task.run(*self.args, **self.kwargs)
        finally:
            _current.reset(token)

    def enter(self, task: Task[..., Any]) -> bool:
        """Whether a call of the task's `__call__` is this very call on its way to the function."""
        if self.task is not task or self._entered:
            return False
        self._entered = True
        return True

    @contextmanager
    def here(self) -> Iterator[None]:
        """What runs in the block, hooks and receivers of signals, sees this call as the current one."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    @property
    def id(self) -> str:
        """The task's id; empty for an inline call."""
        return self.request.id or ""

    @property
    def retries(self) -> int:
        """How many tries have failed before this one."""
        return self.request.retries if self.lease is None else self.lease.failures

    @property
    def ignores_result(self) -> bool:
        """Whether nobody wants the return value; the producer's word goes before the task's."""
        return bool(self.extras.get("ignore_result", self.task.ignore_result))

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """Seconds: the time limit and the soft one; the producer's word goes before the task's."""
        hard, soft = self.task.limits
        return self.extras.get("time_limit", hard), self.extras.get("soft_time_limit", soft)

    @property
    def request(self) -> Request:
        if self._request is None:
            self._request = _request_of(self)
        return self._request


_current: ContextVar[Call | None] = ContextVar("outsourced_call", default=None)


def current_call(task: Task[..., Any] | None = None) -> Call | None:
    """The innermost call here, or the innermost of this task; None outside."""
    call = _current.get()
    while task is not None and call is not None and call.task is not task:
        call = call.outer
    return call


def _producer_of_job() -> Producer | None:
    call = _current.get()
    return None if call is None or call.job is None else call.job.producer


# a task enqueues under its lease, wherever it runs
add_provider(_producer_of_job)


def _request_of(call: Call) -> Request:
    lease, extras = call.lease, call.extras
    if lease is None:
        return Request(task=call.task.name, args=call.args, kwargs=call.kwargs)
    job_id = str(lease.job_id)
    time_limit, soft_time_limit = call.limits
    return Request(
        id=job_id,
        task=lease.task,
        args=call.args,
        kwargs=call.kwargs,
        retries=lease.failures,
        eta=extras.get("eta"),
        expires=_expiry_of(lease),
        hostname=hostname(),
        called_directly=False,
        delivery_info={
            "routing_key": lease.queue,
            "exchange": "",
            "priority": lease.priority,
            "redelivered": lease.confirm,
        },
        correlation_id=job_id,
        root_id=str(lease.root_id or job_id),
        parent_id=None if lease.parent_id is None else str(lease.parent_id),
        headers=extras.get("headers"),
        time_limit=time_limit,
        soft_time_limit=soft_time_limit,
        ignore_result=call.ignores_result,
        shadow=extras.get("shadow"),
        **stamped_with(extras.get("stamps")),
        **placed_in(extras.get("canvas")),
    )


def stamped_with(stamps: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a request has of these stamps."""
    return {} if stamps is None else {"stamps": stamps, "stamped_headers": list(stamps)}


def placed_in(canvas: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a request has of its job's place in a canvas."""
    names = ("group", "group_index", "chord", "chain", "callbacks", "errbacks")
    return {} if canvas is None else {name: canvas.get(name) for name in names}


def _expiry_of(lease: Lease) -> str | None:
    if lease.expires_in is None:
        return None
    return (clock.now() + timedelta(seconds=lease.expires_in)).isoformat()


@cache
def hostname() -> str:
    """The name of this machine."""
    return socket.gethostname()


class Attachment:
    """The file that came with the job; fetched when it is first used."""

    def __init__(self, job: RunningJob, stored: StoredFile) -> None:
        self._job = job
        self._stored = stored

    @property
    def filename(self) -> str:
        return self._stored.name

    @property
    def content_type(self) -> str:
        return self._stored.content_type

    @property
    def size(self) -> int:
        """Bytes."""
        return self._stored.size

    def open(self) -> BinaryIO:
        """A fresh binary stream of the content."""
        return self._fetched.open("rb")

    def path(self) -> Path:
        """A local file with the content, and with the ending of its name; gone when the job ends."""
        return self._fetched

    @cached_property
    def _fetched(self) -> Path:
        # not in the workdir, where the task's own files are
        target = self._job.make_folder() / ("attachment" + Path(self._stored.name).suffix)
        self._job.side.fetch_attachment(self._job.lease, target)
        return target


class RunningJob:
    """A leased job at work, with the temporary folders it has asked for."""

    __slots__ = ("_attachment", "_folders", "_producer", "_tell", "_workdir", "lease", "side")

    def __init__(self, lease: Lease, side: LeaseSide, tell: Tell = untold) -> None:
        self.lease = lease
        self.side = side
        self._tell = tell
        self._attachment: Attachment | None = None
        self._producer: Producer | None = None
        self._folders: list[Workdir] = []
        self._workdir: Path | None = None

    @property
    def producer(self) -> Producer:
        """What the job's task enqueues with."""
        if self._producer is None:
            self._producer = self.side.producer(self.lease)
        return self._producer

    def make_folder(self) -> Path:
        """A new temporary folder, removed by `clean_up`."""
        folder = Workdir()
        self._folders.append(folder)
        return folder.path

    @property
    def workdir(self) -> Path:
        if self._workdir is None:
            self._workdir = self.make_folder()
        return self._workdir

    @property
    def attachment(self) -> Attachment:
        if self.lease.attachment is None:
            raise NotFound("this job has no attachment", job_id=str(self.lease.job_id))
        if self._attachment is None:
            self._attachment = Attachment(self, self.lease.attachment)
        return self._attachment

    def tell(self, state: str | None, meta: Any) -> None:
        """Has the job show this state; raises TypeError, ValueError or PayloadError."""
        self._tell(progress_of(state, meta))

    def clean_up(self) -> None:
        """Removes the folders, whatever is left in them."""
        for folder in self._folders:
            if not folder.remove():
                log.warning("%s of job %s cannot be removed", folder.path, self.lease.job_id)
        self._folders.clear()


class CurrentJob:
    """The job that runs in this context; without one, every attribute raises RuntimeError."""

    __slots__ = ()

    def __bool__(self) -> bool:
        call = _current.get()
        return call is not None and call.job is not None

    @property
    def id(self) -> UUID:
        return _running().lease.job_id

    @property
    def task(self) -> str:
        """The name of the job's task."""
        return _running().lease.task

    @property
    def queue(self) -> str:
        return _running().lease.queue

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1; losses count too."""
        return _running().lease.attempt

    @property
    def retries(self) -> int:
        """How many earlier attempts failed."""
        return _running().lease.failures

    @property
    def owner(self) -> Owner | None:
        return _running().lease.owner

    @property
    def attachment(self) -> Attachment:
        """The file enqueued with the job; raises NotFound if there is none."""
        return _running().attachment

    @property
    def has_attachment(self) -> bool:
        return _running().lease.attachment is not None

    @property
    def workdir(self) -> Path:
        """An empty folder of this attempt's own, removed when it ends."""
        return _running().workdir

    def save_file(
        self, path: str | PathLike[str], name: str | None = None, *, content_type: str | None = None
    ) -> StoredFile:
        """Stores a file with the job, to be read as `AsyncResult.files[name]`; raises LeaseLost."""
        job, source = _running(), Path(path)
        name = name or source.name
        return job.side.save_file(job.lease, name, source, content_type or guess_content_type(name))

    def progress(self, current: float, total: float | None = None) -> None:
        """Tells how far the task is: its job shows PROGRESS with `current` and `total`, within a second.

        May be called as often as one likes: only the last of a second is sent.
        """
        _running().tell(PROGRESS, {"current": current, "total": total})


def _running() -> RunningJob:
    call = _current.get()
    if call is None or call.job is None:
        raise RuntimeError("no job runs here: outsourced.current_job exists inside a task that a worker runs")
    return call.job


class CurrentTask:
    """The task that runs in this context, for code that was not handed `self`."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return _current.get() is not None

    def __getattr__(self, name: str) -> Any:
        call = _current.get()
        if call is None:
            raise RuntimeError("no task runs here: outsourced.current_task exists inside a task")
        return getattr(call.task, name)


current_job = CurrentJob()
current_task = CurrentTask()
