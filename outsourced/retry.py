"""How long to wait before the next try, as Celery computes it. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Which exceptions of a task are tried again, how often, and after how long."""

    max_retries: int | None = 3  #: None: for ever
    delay: timedelta = timedelta(seconds=180)  #: Celery's `default_retry_delay`
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    backoff: float = 0  #: Celery's `retry_backoff`, in seconds; 0: always `delay`
    backoff_max: float = 600  #: seconds
    jitter: bool = True

    def retries(self, error: BaseException) -> bool:
        """Whether this exception alone, raised by the task, asks for another try."""
        return isinstance(error, self.autoretry_for) and not isinstance(error, self.dont_autoretry_for)

    def next_delay(self, failures: int, rng: random.Random | None = None) -> timedelta:
        """The wait after `failures` earlier ones: factor · 2^failures, capped, with full jitter."""
        if not self.backoff:
            return self.delay
        ceiling = min(self.backoff_max, self.backoff * 2 ** min(failures, 64))
        if self.jitter:
            # Celery draws whole seconds from [0, ceiling]
            ceiling = (rng or random).randrange(int(ceiling) + 1)
        return timedelta(seconds=max(0, ceiling))
