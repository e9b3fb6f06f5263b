"""Rate limits as they are written, and what they allow; Celery's own reading beside ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from celery.utils.time import rate as celerys

import outsourced
from outsourced.rates import Rate, rate

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("limit", ["10/s", "10/m", "3/h", "0.5/m", "7", 4, 0.25, "100/s", "100000/s"])
def test_limit_is_read_as_celery_does(limit: str | float) -> None:
    found = rate(limit)
    assert found is not None
    assert 1 / found.pace == pytest.approx(celerys(limit) if isinstance(limit, str) else limit)


@pytest.mark.parametrize("limit", [None, 0, "0", "0/m", "", 0.0])
def test_no_limit_is_read_as_none(limit: str | float | None) -> None:
    assert rate(limit) is None


@pytest.mark.parametrize("limit", ["10/d", "often", "-1/s", "inf", float("nan"), "1/m/s", 1e9, "1e-9/h"])
def test_limit_that_cannot_be_is_refused_where_the_task_is_defined(limit: str | float) -> None:
    with pytest.raises(ValueError, match="written 10/s"):
        outsourced.task(rate_limit=limit, name="unit.never")(lambda: None)


def test_slow_limit_lets_one_go_at_a_time_as_celery_does() -> None:
    assert [one.burst for one in (rate("10/s"), rate("600/m"), rate("1/h")) if one] == [1, 1, 1]


def test_fast_limit_lets_a_tenth_of_a_second_go_at_once() -> None:
    assert rate("100/s") == Rate(pace=0.01, burst=10)


def test_permits_come_back_one_a_pace() -> None:
    limit = Rate(pace=0.5, burst=3)
    next_at = limit.spend(3, NOW - timedelta(days=1), NOW)
    permits = [limit.permits(next_at, NOW + timedelta(seconds=after)) for after in (0, 0.4, 0.5, 1, 9)]
    assert permits == [0, 0, 1, 2, 3]
    assert limit.opens_at(next_at) == NOW + timedelta(seconds=0.5)
