"""What the benchmark's worker runs: nothing, as fast as it can, and a note of when it began."""

from __future__ import annotations

import time

import outsourced


@outsourced.task
def nothing(number: int) -> int:
    return number


@outsourced.task
def begun(enqueued_at: float) -> float:
    """Seconds from the call of `delay()` to here, on one machine's clock."""
    return time.time() - enqueued_at
