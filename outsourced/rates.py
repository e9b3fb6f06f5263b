"""Rate limits: how many jobs may be begun in a time, as Celery writes it, and when the next one may.

A limit allows a job every `pace` seconds. What a fast one allows within a tenth of a second may go at
once (`burst`), so that one claim can take several; of a slow one that is a single job, as in Celery. Time in
which nothing was begun is not made up for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

#: seconds of each period's letter
PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0}
#: seconds whose jobs may go at once
BURST_SECONDS = 0.1
#: jobs a second, at least and at most
LEAST, MOST = 1 / (366 * 86400), 100_000
#: shares of a permit that are taken for rounding
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit: seconds between two jobs, and how many may go at once."""

    pace: float
    burst: int

    def permits(self, next_at: datetime, now: datetime) -> int:
        """How many jobs may be begun now, where `next_at` is when those before are all paid for."""
        ahead = (max(next_at, now) - now).total_seconds()
        return max(0, math.floor(self.burst - ahead / self.pace + _ROUNDING))

    def spend(self, number: int, next_at: datetime, now: datetime) -> datetime:
        """The new `next_at` after so many have been begun now."""
        return max(next_at, now) + timedelta(seconds=number * self.pace)

    def opens_at(self, next_at: datetime) -> datetime:
        """When the next job may be begun."""
        return next_at - timedelta(seconds=(self.burst - 1) * self.pace)


def rate(limit: str | float | None) -> Rate | None:
    """The limit that is written `10/s`, `10/m`, `10/h`, or as a number a second; None and 0: no limit.

    Raises ValueError.
    """
    count, letter = (limit or 0), "s"
    if isinstance(count, str):
        count, _, letter = count.partition("/")
    try:
        a_second = float(count) / PERIODS[letter.strip() or "s"]
    except (ValueError, TypeError, KeyError):
        raise ValueError(_explain(limit)) from None
    if not a_second:
        return None
    if not LEAST <= a_second <= MOST:
        raise ValueError(_explain(limit))
    return Rate(pace=1 / a_second, burst=max(1, math.floor(a_second * BURST_SECONDS)))


def _explain(limit: object) -> str:
    return (
        f"a rate limit is written 10/s, 10/m or 10/h, or as a number a second (0: none), from one a year "
        f"to 100000/s, not {limit!r}"
    )
