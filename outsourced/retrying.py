"""Small steps of `Task.retry`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

from outsourced.context import Call
from outsourced.exceptions import Retry


def raise_with_context(error: BaseException) -> NoReturn:
    """Raises the error, because of the one that is being handled."""
    handled = sys.exc_info()[1]
    if handled is None or handled is error:
        raise error
    raise error from handled


def require_same_arguments(call: Call, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> None:
    """Raises TypeError where the next try is to have other arguments: a job keeps the ones it has."""
    if (args is not None and list(args) != list(call.args)) or (
        kwargs is not None and dict(kwargs) != dict(call.kwargs)
    ):
        raise TypeError(
            "a job is tried again with the arguments it has: enqueue a new one with "
            f"{call.task.name}.apply_async(args, kwargs) and raise Ignore()"
        )


def wish(
    exc: BaseException | None,
    *,
    delay: timedelta,
    max_retries: int | None,
    when: float | timedelta | datetime | None,
) -> Retry:
    """What tells the worker to try the job again."""
    return Retry(
        f"to be tried again in {delay.total_seconds():g} s",
        exc,
        when if isinstance(when, datetime) else delay.total_seconds(),
        delay=delay,
        max_retries=max_retries,
    )
