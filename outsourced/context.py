"""What runs here: the current job, the current task and the request it answers.

A context variable holds the innermost call. A thread that a task starts sees it too if it is run with
`contextvars.copy_context().run`.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from uuid import UUID

from outsourced import clock
from outsourced.attachments import guess_content_type
from outsourced.backend import Producer, add_provider
from outsourced.errors import NotFound
from outsourced.records import Lease, Owner, StoredFile
from outsourced.workdir import Workdir

if TYPE_CHECKING:
    from outsourced.exceptions import Retry
    from outsourced.tasks import Task

log = logging.getLogger(__name__)


class LeaseSide(Protocol):
    """The part of a Consumer that a task at work uses: its job's files, and jobs of its own."""

    def fetch_attachment(self, lease: Lease, target: Path) -> None:
        """Writes the job's attachment to `target`, its digest verified."""

    def save_file(self, lease: Lease, name: str, source: Path, content_type: str) -> StoredFile:
        """Stores a result file under the lease."""

    def producer(self, lease: Lease) -> Producer:
        """What the task enqueues with."""


@dataclass(kw_only=True)
class Request:
    """Celery's `task.request`: how this call came about. The defaults are those of a direct call."""

    id: str | None = None
    task: str | None = None
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    retries: int = 0
    eta: datetime | None = None
    expires: datetime | None = None
    hostname: str | None = None
    called_directly: bool = True
    is_eager: bool = False
    delivery_info: Mapping[str, Any] = field(default_factory=dict)
    correlation_id: str | None = None
    root_id: str | None = None
    parent_id: str | None = None


class Call:
    """One call of a task: inline, or under a lease when `lease` is set."""

    __slots__ = (
        "_is_entering",
        "_request",
        "args",
        "exhausted",
        "job",
        "kwargs",
        "lease",
        "outer",
        "task",
        "wish",
    )

    def __init__(
        self,
        task: Task[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        job: RunningJob | None = None,
    ) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.outer = _current.get()
        self.lease = job.lease if job is not None else None
        # a task called inline from another works on that one's job
        self.job: RunningJob | None = job if job is not None or self.outer is None else self.outer.job
        self.wish: Retry | None = None  #: from `retry(throw=False)`
        self.exhausted = False  #: `retry` found no try left
        self._request: Request | None = None
        self._is_entering = False

    def run(self) -> Any:
        """The task's return value; what it raises passes through. A job's call goes by `__call__`."""
        token = _current.set(self)
        self._is_entering = self.lease is not None
        try:
            called = self.task if self._is_entering else self.task.run
            return called(*self.args, **self.kwargs)
        finally:
            _current.reset(token)

    def enters(self) -> bool:
        """Whether `Task.__call__` is reached on the way into this very call: true once."""
        entering, self._is_entering = self._is_entering, False
        return entering

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
    lease = call.lease
    if lease is None:
        return Request(task=call.task.name, args=call.args, kwargs=call.kwargs)
    expires = None if lease.expires_in is None else clock.now() + timedelta(seconds=lease.expires_in)
    job_id = str(lease.job_id)
    return Request(
        id=job_id,
        task=lease.task,
        args=call.args,
        kwargs=call.kwargs,
        retries=lease.failures,
        expires=expires,
        hostname=_hostname(),
        called_directly=False,
        delivery_info={
            "routing_key": lease.queue,
            "exchange": "",
            "priority": lease.priority,
            "redelivered": lease.confirm,
        },
        correlation_id=job_id,
        root_id=job_id,
    )


@cache
def _hostname() -> str:
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

    __slots__ = ("_attachment", "_folders", "_producer", "_workdir", "lease", "side")

    def __init__(self, lease: Lease, side: LeaseSide) -> None:
        self.lease = lease
        self.side = side
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
