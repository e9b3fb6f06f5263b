"""The dates of a job as producers give them: in order, or refused by the names of two that are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest

from outsourced.dates import ORDER, dates

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALL = {name: NOON + number * HOUR for number, name in enumerate(ORDER)}


def test_dates_keep_their_distances_from_the_start() -> None:
    assert dates(ALL) == {  # type: ignore[arg-type]
        "runs_at": NOON,
        "runs_in": None,
        "expires_at": NOON + 2 * HOUR,
        "expires_in": None,
        "stuck_after": HOUR,
        "repeats_after_fail": 3 * HOUR,
        "repeats_after_complete": 4 * HOUR,
    }


def test_dates_of_a_job_that_is_put_off_count_from_then() -> None:
    before = datetime.now(UTC)
    found = dates({"countdown": 3600, "repeats_after_complete_at": before + 3 * HOUR})
    assert found["runs_in"] == HOUR
    assert found["repeats_after_complete"] is not None
    assert 2 * HOUR - timedelta(seconds=5) < found["repeats_after_complete"] <= 2 * HOUR


#: as in Celery, a job may expire before it is due
PAIRS = [pair for pair in combinations(ORDER, 2) if pair != ("runs_at", "expires_at")]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_dates_out_of_order_are_refused_by_their_names(before: str, after: str) -> None:
    swapped: Any = {before: NOON + HOUR, after: NOON}
    if before != "runs_at":
        swapped["runs_at"] = NOON - HOUR
    with pytest.raises(ValueError, match=rf"^{after} \(2030-01-01 12.* does not come after {before} \("):
        dates(swapped)


@pytest.mark.parametrize("after", ["gets_stuck_at", "repeats_after_fail_at", "repeats_after_complete_at"])
def test_what_follows_the_start_is_later_than_it(after: str) -> None:
    with pytest.raises(ValueError, match=f"{after} .* does not come after runs_at"):
        dates({"runs_at": NOON, after: NOON})  # type: ignore[misc]


def test_two_repeats_may_fall_together() -> None:
    found = dates(
        {"runs_at": NOON, "repeats_after_fail_at": NOON + HOUR, "repeats_after_complete_at": NOON + HOUR}
    )
    assert found["repeats_after_fail"] == found["repeats_after_complete"] == HOUR


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"eta": NOON, "runs_at": NOON}, ValueError, "eta= and runs_at= both say when to start"),
        ({"countdown": 5, "runs_at": NOON}, ValueError, "countdown= and runs_at="),
        ({"expires": 5, "expires_at": NOON}, ValueError, "expires= and expires_at="),
        ({"runs_at": 5}, TypeError, "runs_at is a datetime, not 5"),
        ({"gets_stuck_at": HOUR}, TypeError, "gets_stuck_at is a datetime"),
    ],
)
def test_wrong_dates_are_refused_by_name(given: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        dates(given)
