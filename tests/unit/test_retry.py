"""Waits between tries."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from outsourced.retry import RetryPolicy


def test_next_delay_without_backoff_is_the_delay() -> None:
    assert RetryPolicy(delay=timedelta(seconds=7)).next_delay(5) == timedelta(seconds=7)


@pytest.mark.parametrize(("failures", "seconds"), [(0, 2), (1, 4), (5, 64), (20, 600), (10**6, 600)])
def test_next_delay_doubles_up_to_the_cap(failures: int, seconds: int) -> None:
    policy = RetryPolicy(backoff=2, jitter=False)
    assert policy.next_delay(failures) == timedelta(seconds=seconds)


def test_next_delay_with_jitter_spreads_over_the_whole_range() -> None:
    rng = random.Random(1)
    policy = RetryPolicy(backoff=1)
    waits = {policy.next_delay(3, rng).total_seconds() for _ in range(500)}
    assert waits == set(range(9))


def test_retries_names_exceptions_and_spares_exceptions_of_them() -> None:
    policy = RetryPolicy(autoretry_for=(OSError,), dont_autoretry_for=(FileNotFoundError,))
    assert policy.retries(TimeoutError())
    assert not policy.retries(FileNotFoundError())
    assert not policy.retries(ValueError())
