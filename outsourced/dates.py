"""The dates of a job: when it runs, gets stuck, expires, and repeats. As its producer gives them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, TypedDict

from outsourced import clock
from outsourced.task_settings import localized

#: seconds, about a century: how far a job may be put off
MAX_DELAY = 100 * 365.25 * 86400
#: in this order they have to come
ORDER = ("runs_at", "gets_stuck_at", "expires_at", "repeats_after_fail_at", "repeats_after_complete_at")

#: a moment, or how long from now, as a number of seconds or a timedelta
When = float | timedelta | datetime


class DateOptions(TypedDict, total=False):
    """When a job runs, and what comes after that."""

    countdown: float | timedelta | None
    eta: datetime | None
    runs_at: datetime | None
    expires: When | None
    expires_at: datetime | None
    gets_stuck_at: datetime | None
    repeats_after_fail_at: datetime | None
    repeats_after_complete_at: datetime | None


class Dates(TypedDict):
    """The same as a NewJob has them."""

    runs_at: datetime | None
    runs_in: timedelta | None
    expires_at: datetime | None
    expires_in: timedelta | None
    stuck_after: timedelta | None
    repeats_after_fail: timedelta | None
    repeats_after_complete: timedelta | None


#: the options' names
DATES = frozenset(DateOptions.__annotations__)
#: of a job that runs at once, and only then
NO_DATES = Dates(
    runs_at=None,
    runs_in=None,
    expires_at=None,
    expires_in=None,
    stuck_after=None,
    repeats_after_fail=None,
    repeats_after_complete=None,
)


def dates(given: DateOptions) -> Dates:
    """The dates; raises TypeError or ValueError naming the option, or the pair, that is wrong."""
    now = clock.now()
    runs_at, runs_in = _start(given)
    expires_at, expires_in = _expiry(given)
    start = runs_at or now + (runs_in or timedelta(0))
    stuck = _moment("gets_stuck_at", given.get("gets_stuck_at"))
    after_fail = _moment("repeats_after_fail_at", given.get("repeats_after_fail_at"))
    after_complete = _moment("repeats_after_complete_at", given.get("repeats_after_complete_at"))
    expiry = now + expires_in if expires_in is not None else expires_at
    if stuck or after_fail or after_complete:
        _require_order(zip(ORDER, (start, stuck, expiry, after_fail, after_complete), strict=True))
    return Dates(
        runs_at=runs_at,
        runs_in=runs_in,
        expires_at=expires_at,
        expires_in=expires_in,
        stuck_after=_distance(start, stuck),
        repeats_after_fail=_distance(start, after_fail),
        repeats_after_complete=_distance(start, after_complete),
    )


def out_of_order(named: Iterable[tuple[str, Any]]) -> tuple[str, str] | None:
    """The first two that are in the wrong order; those that are None do not count.

    All come after the first, the start; two of the others may fall together.
    """
    given = [(name, value) for name, value in named if value is not None]
    for number, ((before, first), (name, second)) in enumerate(pairwise(given)):
        if second < first or (number == 0 and second == first):
            return before, name
    return None


def duration(name: str, value: float | timedelta) -> timedelta:
    """A number of seconds as a timedelta; raises TypeError or ValueError naming the argument."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number of seconds or a timedelta, not {value!r}")
    if not math.isfinite(value) or abs(value) > MAX_DELAY:
        raise ValueError(f"{name}={value} is out of range")
    return timedelta(seconds=value)


def _start(given: DateOptions) -> tuple[datetime | None, timedelta | None]:
    said = [name for name in ("countdown", "eta", "runs_at") if given.get(name) is not None]
    if len(said) > 1:
        raise ValueError(f"{'= and '.join(said)}= both say when to start: give one of them")
    if (countdown := given.get("countdown")) is None:
        return _moment("eta", given.get("eta")) or _moment("runs_at", given.get("runs_at")), None
    delay = duration("countdown", countdown)
    return None, delay if delay > timedelta(0) else None


def _expiry(given: DateOptions) -> tuple[datetime | None, timedelta | None]:
    expires, expires_at = given.get("expires"), given.get("expires_at")
    if expires is not None and expires_at is not None:
        raise ValueError("expires= and expires_at= both say when it is too late: give one of them")
    if expires is None or isinstance(expires, datetime):
        return _moment("expires", expires) or _moment("expires_at", expires_at), None
    return None, duration("expires", expires)


def _moment(name: str, value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise TypeError(f"{name} is a datetime, not {value!r}")
    return clock.as_utc(localized(value))


def _distance(start: datetime, moment: datetime | None) -> timedelta | None:
    return None if moment is None else moment - start


def _require_order(named: Iterable[tuple[str, datetime | None]]) -> None:
    moments = dict(named)
    if pair := out_of_order(moments.items()):
        before, name = pair
        raise ValueError(
            f"{name} ({moments[name]}) does not come after {before} ({moments[before]}): "
            f"the dates of a job are in the order {', '.join(ORDER)}"
        )
