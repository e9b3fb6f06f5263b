"""What the benchmark's worker runs: nothing, as fast as it can, and a note of when it began."""

from __future__ import annotations

import time

import outsourced
from bench.peers import tally


@outsourced.task
def nothing(number: int) -> int:
    return number


@outsourced.task
def tallied(number: int) -> int:
    """What the jobs of every peer do, and a result."""
    tally.mark()
    return number


@outsourced.task
def begun(enqueued_at: float) -> float:
    """Seconds from the call of `delay()` to here, on one machine's clock."""
    return time.time() - enqueued_at
