"""Celery's names for what may go wrong, in one place, and the three ways a task steers its own end.

`Retry`, `Ignore` and `Reject` are raised by a task to say how it wants to end. They are no errors and
have a base of their own; everything else here is a class of `outsourced.errors` under Celery's name.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from outsourced import clock
from outsourced.errors import (
    BackendError,
    ChordError,
    ConfigurationError,
    JobFailed,
    JobRevoked,
    MaxRetriesExceeded,
    NotRegistered,
    OutsourcedError,
    TaskAlreadyRegistered,
    TimeoutError,
    UnknownQueue,
)

if TYPE_CHECKING:
    from outsourced.records import Changed

__all__ = [
    "AlreadyRegistered",
    "BackendError",
    "CeleryError",
    "ChordError",
    "Ignore",
    "IncompleteStream",
    "ImproperlyConfigured",
    "InvalidTaskError",
    "MaxRetriesExceededError",
    "NotRegistered",
    "OperationalError",
    "QueueNotFound",
    "Reject",
    "Retry",
    "SoftTimeLimitExceeded",
    "TaskError",
    "TaskPredicate",
    "TaskRevokedError",
    "TimeLimitExceeded",
    "TimeoutError",
    "WorkerLostError",
]

CeleryError = OutsourcedError
TaskError = OutsourcedError
ImproperlyConfigured = ConfigurationError
MaxRetriesExceededError = MaxRetriesExceeded
OperationalError = BackendError
TaskRevokedError = JobRevoked
AlreadyRegistered = TaskAlreadyRegistered
QueueNotFound = UnknownQueue


class InvalidTaskError(OutsourcedError):
    """The task has invalid data, or is not written as a task can be."""


class IncompleteStream(OutsourcedError):
    """A walk along results came to a job that has not ended."""


class WorkerLostError(JobFailed):
    """The worker ended, or was not heard of again, while it ran the task."""


class TimeLimitExceeded(Exception):
    """The task ran longer than its `time_limit`, and was stopped with its process."""


class SoftTimeLimitExceeded(Exception):
    """Raised inside a task that has run for its `soft_time_limit`: the time to tidy up, and end."""


class TaskPredicate(Exception):
    """The base of what a task raises to say how it ends."""


class Retry(TaskPredicate):
    """The task is to be tried again: `when`, seconds from now or a moment, or after `delay`.

    `max_retries` is the budget this call named, if any. `again` is what the task is called with then, and
    `changes` what else is other about the job; None: nothing is.
    """

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | None = None,
        when: float | datetime | None = None,
        *,
        delay: timedelta | None = None,
        max_retries: int | None = None,
        again: tuple[Sequence[Any], Mapping[str, Any]] | None = None,
        changes: Changed | None = None,
        is_eager: bool = False,
    ) -> None:
        super().__init__(message or "the task is to be tried again")
        self.message = message
        self.exc = exc
        self.when = when
        self._delay = delay
        self.max_retries = max_retries
        self.again = again
        self.changes = changes
        self.is_eager = is_eager

    @property
    def delay(self) -> timedelta | None:
        """The time from now to the next try; None: none was named."""
        if self._delay is not None or self.when is None:
            return self._delay
        if isinstance(self.when, datetime):
            return max(timedelta(0), clock.as_utc(self.when) - clock.now())
        return timedelta(seconds=max(0.0, self.when))

    def __str__(self) -> str:
        if self.message:
            return self.message
        return f"Retry {self.humanize()}" + (f": {self.excs}" if self.exc is not None else "")

    @property
    def excs(self) -> str | None:
        """The cause in words; None where none was given."""
        return None if self.exc is None else reprlib.repr(self.exc)

    def humanize(self) -> str:
        """When, in words: `in 180s`, or `at 2026-01-31 …`."""
        return f"at {self.when}" if isinstance(self.when, datetime) else f"in {self.when or 0:g}s"


class Ignore(TaskPredicate):
    """The task ends here; its result is of no interest."""


class Replaced(Ignore):
    """The task ends here; the result of its job is to be that of another, which it has enqueued."""

    def __init__(self, by: UUID) -> None:
        super().__init__(f"replaced by {by}")
        self.by = by


class Reject(TaskPredicate):
    """The task refuses the job: it fails, or with `requeue=True` goes back for another worker."""

    def __init__(self, reason: object = None, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - Celery's
        super().__init__(reason, requeue)
        self.reason = reason
        self.requeue = requeue
