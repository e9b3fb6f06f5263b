"""What a worker's log says of each job: a line each, in Celery's words, for those who search their logs.

Arguments are not logged; results, and what was raised, are shortened.
"""

from __future__ import annotations

import logging
import reprlib
import time
from collections.abc import Iterable
from typing import Any

from outsourced.exceptions import Reject, Replaced, Retry
from outsourced.records import Failure, Lease

log = logging.getLogger(__name__)
#: of jobs that go as they should: quiet unless a worker is told `-l info`, or the host gives it a level
routine = logging.getLogger(f"{__name__}.routine")
if routine.level == logging.NOTSET:
    routine.setLevel(logging.WARNING)

#: characters of a result, as in Celery
MAX_SHOWN = 1024

_short = reprlib.Repr()
_short.maxlevel = 4
_short.maxlist = _short.maxtuple = _short.maxset = _short.maxfrozenset = _short.maxdict = 30
_short.maxstring = _short.maxother = _short.maxlong = 300


def set_routine(*, shown: bool) -> None:
    """Whether this process logs of jobs that go as they should, where it logs INFO."""
    routine.setLevel(logging.NOTSET if shown else logging.WARNING)


def received(leases: Iterable[Lease]) -> None:
    """Jobs have come."""
    if routine.isEnabledFor(logging.INFO):
        for lease in leases:
            _say(routine, lease, "received")


def succeeded(lease: Lease, value: Any, *, began: float) -> None:
    """The task has returned; `began` is a reading of `time.monotonic()`."""
    if routine.isEnabledFor(logging.INFO):
        _say(routine, lease, f"succeeded in {time.monotonic() - began:.6f}s: {shown(value)}")


def replaced(lease: Lease, wish: Replaced) -> None:
    """The task has ended, and another one's result is to be that of its job."""
    if routine.isEnabledFor(logging.INFO):
        _say(routine, lease, f"replaced by {wish.by}")


def ignored(lease: Lease) -> None:
    """The task has ended by Ignore."""
    if routine.isEnabledFor(logging.INFO):
        _say(routine, lease, "ignored")


def retried(lease: Lease, wish: Retry, error: BaseException) -> None:
    """The task is to be tried again because of `error`."""
    cause = f": {shown(error)}" if wish.exc is None and error is not wish else ""
    _say(log, lease, f"retry: {wish}{cause}")


def rejected(lease: Lease, wish: Reject) -> None:
    """The task has refused the job."""
    _say(log, lease, f"reject requeue={wish.requeue}: {wish.reason}")


def failed(lease: Lease, error: BaseException, failure: Failure, *, expected: bool) -> None:
    """The task has raised an error, which it said that it may if `expected`."""
    if expected:
        _say(log, lease, f"raised expected: {shown(error)}")
    else:
        text = f"raised unexpected: {shown(error)}\n{failure.traceback.rstrip()}"
        _say(log, lease, text, level=logging.ERROR)


def told_failure(lease: Lease, failure: Failure) -> None:
    """The task has ended by Ignore, and said before with what it fails."""
    _say(log, lease, f"failed, as it told: {failure.type}: {failure.message}", level=logging.ERROR)


def shown(value: object) -> str:
    """The value's repr, shortened; one that cannot be had does not matter."""
    try:
        text = _short.repr(value)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may raise anything
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
    text = " ".join(text.splitlines())
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _say(logger: logging.Logger, lease: Lease, what: str, *, level: int = logging.INFO) -> None:
    names = {"task_name": lease.task, "task_id": str(lease.job_id)}
    logger.log(level, "Task %s[%s] %s", lease.task, lease.job_id, what, extra=names)
