"""Celery's names for what may go wrong, in one place, and the three ways a task steers its own end.

`Retry`, `Ignore` and `Reject` are raised by a task to say how it wants to end. They are no errors and
have a base of their own; everything else here is a class of `outsourced.errors` under Celery's name.
"""

from __future__ import annotations

from datetime import timedelta

from outsourced.errors import (
    BackendError,
    ChordError,
    ConfigurationError,
    JobRevoked,
    MaxRetriesExceeded,
    NotRegistered,
    TimeoutError,
)

__all__ = [
    "ChordError",
    "Ignore",
    "ImproperlyConfigured",
    "MaxRetriesExceededError",
    "NotRegistered",
    "OperationalError",
    "Reject",
    "Retry",
    "TaskPredicate",
    "TaskRevokedError",
    "TimeoutError",
]

ImproperlyConfigured = ConfigurationError
MaxRetriesExceededError = MaxRetriesExceeded
OperationalError = BackendError
TaskRevokedError = JobRevoked


class TaskPredicate(Exception):
    """The base of what a task raises to say how it ends."""


class Retry(TaskPredicate):
    """The task is to be tried again after `delay`; `max_retries` is the budget this call named, if any."""

    def __init__(
        self,
        message: str = "the task is to be tried again",
        *,
        exc: BaseException | None = None,
        delay: timedelta | None = None,
        max_retries: int | None = None,
    ) -> None:
        super().__init__(message)
        self.exc = exc
        self.delay = delay
        self.max_retries = max_retries


class Ignore(TaskPredicate):
    """The task ends here; its result is of no interest."""


class Reject(TaskPredicate):
    """The task refuses the job: it fails, or with `requeue=True` goes back for another worker."""

    def __init__(self, reason: object = None, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - Celery's
        super().__init__(reason, requeue)
        self.reason = reason
        self.requeue = requeue
