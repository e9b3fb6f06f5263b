"""Schedules: Celery's fields, ticks by the clocks of a zone, and what was missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from outsourced.schedules import crontab, every, maybe_schedule, next_tick, parse, schedule

VIENNA = ZoneInfo("Europe/Vienna")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticks(recurring: crontab, after: datetime, number: int, zone: Any = UTC) -> list[str]:
    def follow() -> Any:
        moment = after
        while True:
            moment = recurring.next_after(moment, zone)
            yield f"{moment:%m-%d %H:%M}"

    return list(islice(follow(), number))


@pytest.mark.parametrize(
    ("fields", "spec"),
    [
        ({}, "* * * * *"),
        ({"minute": 0, "hour": 4}, "0 4 * * *"),
        ({"minute": "*/15"}, "*/15 * * * *"),
        ({"minute": "*/1"}, "* * * * *"),
        ({"minute": "0,30", "hour": "8-17/4"}, "0,30 8,12,16 * * *"),
        ({"minute": 0, "hour": "22-2"}, "0 0,1,2,22,23 * * *"),
        ({"minute": [0, "10-12"], "hour": (3,)}, "0,10,11,12 3 * * *"),
        ({"day_of_week": "mon-fri"}, "* * * * 1,2,3,4,5"),
        ({"day_of_week": "Friday-Monday"}, "* * * * 0,1,5,6"),
        ({"day_of_week": 7}, "* * * * 0"),
        ({"day_of_week": "sunday,3"}, "* * * * 0,3"),
        ({"month_of_year": "*/3", "day_of_month": "1"}, "* * 1 */3 *"),
        ({"month_of_year": "jan,december"}, "* * * 1,12 *"),
        ({"hour": "*/3,8-10"}, "* 0,3,6,8,9,10,12,15,18,21 * * *"),
    ],
)
def test_crontab_reads_celerys_fields(fields: dict[str, Any], spec: str) -> None:
    made = crontab(**fields)
    assert made.spec == spec
    assert parse(spec) == made


@pytest.mark.parametrize(
    "fields",
    [
        {"minute": 60},
        {"hour": "24"},
        {"minute": "*/0"},
        {"minute": "5/10"},
        {"minute": ""},
        {"minute": []},
        {"day_of_week": "foo"},
        {"day_of_week": 8},
        {"month_of_year": 0},
        {"day_of_month": 31, "month_of_year": 2},
        {"minute": "-1"},
    ],
)
def test_crontab_refuses_what_never_comes(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected|empty|never"):
        crontab(**fields)


def test_day_of_month_and_day_of_week_must_both_match_as_in_celery() -> None:
    assert ticks(crontab(0, 0, day_of_month=13, day_of_week="fri"), at("2026-01-01"), 3) == [
        "02-13 00:00",
        "03-13 00:00",
        "11-13 00:00",
    ]


def test_crontab_goes_by_the_clocks_of_its_zone() -> None:
    assert crontab(0, 9).next_after(at("2026-07-01"), VIENNA) == at("2026-07-01 07:00")
    assert crontab(0, 9).next_after(at("2026-12-01"), VIENNA) == at("2026-12-01 08:00")


def test_tick_of_an_hour_that_summer_time_leaves_out_comes_once_right_after() -> None:
    # 02:00 becomes 03:00 on March 29th, which is 01:00 UTC
    assert ticks(crontab(30, 2), at("2026-03-27 12:00"), 3, VIENNA) == [
        "03-28 01:30",
        "03-29 01:00",
        "03-30 00:30",
    ]


def test_tick_of_an_hour_that_comes_twice_comes_once() -> None:
    # 03:00 becomes 02:00 on October 25th, which is 01:00 UTC
    assert ticks(crontab(30, 2), at("2026-10-24 12:00"), 2, VIENNA) == ["10-25 00:30", "10-26 01:30"]
    # asked in the second of the two hours, it does not give a moment that is over
    assert crontab(30, 2).next_after(at("2026-10-25 01:10"), VIENNA) == at("2026-10-26 01:30")


def test_ticks_of_every_hour_go_on_by_elapsed_time_over_a_change() -> None:
    assert ticks(crontab(0), at("2026-03-28 23:30"), 4, VIENNA) == [
        "03-29 00:00", "03-29 01:00", "03-29 02:00", "03-29 03:00",
    ]  # fmt: skip
    assert ticks(crontab("*/30"), at("2026-10-24 23:50"), 5, VIENNA) == [
        "10-25 00:00", "10-25 00:30", "10-25 01:00", "10-25 01:30", "10-25 02:00",
    ]  # fmt: skip


def test_intervals_keep_their_pace_and_leave_out_what_was_missed() -> None:
    begun = at("2026-01-01 00:00")
    assert next_tick("every 60", "UTC", last=begun, now=begun) == begun + timedelta(minutes=1)
    assert next_tick("every 60", "UTC", last=begun, now=begun + timedelta(seconds=200)) == begun + timedelta(
        minutes=4
    )
    assert next_tick("0 * * * *", "UTC", last=begun, now=at("2026-01-01 05:59")) == at("2026-01-01 06:00")


def test_intervals_may_be_numbers_timedeltas_and_words() -> None:
    for same in (90, 90.0, timedelta(seconds=90), schedule(90), every(minutes=1, seconds=30)):
        assert maybe_schedule(same) == schedule(timedelta(seconds=90))
    assert parse(every(hours=1).spec) == every(hours=1)
    with pytest.raises(TypeError, match="no schedule"):
        maybe_schedule("hourly")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="once a second"):
        schedule(0.1)


def test_crontab_reads_a_line_of_a_crontab() -> None:
    assert crontab.from_string("5 4 * * mon") == crontab(5, 4, "mon")
    with pytest.raises(ValueError, match="five fields"):
        crontab.from_string("5 4 *")
