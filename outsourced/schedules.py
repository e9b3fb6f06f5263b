"""When something recurs: `crontab`, `schedule` and `every`. Pure: the present moment is the caller's.

A schedule has a spec, a line of text that `parse` reads again: `every 30`, or five fields as in a crontab.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from outsourced.dates import duration

#: one field of a crontab: a number, text like `*/5`, `1-5`, `mon-fri` or `0,30`, or several of these
Field = int | str | Iterable[int | str]

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_EVERY = "every "


@dataclass(frozen=True, slots=True)
class _Range:
    """What one field of a crontab may say."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def spelled(self, value: Field) -> str:
        """The field as a crontab has it; raises ValueError."""
        if isinstance(value, str) and value.replace(" ", "").startswith("*/") and "," not in value:
            # kept as it is: a field that begins with a star is not held to the wall clock over a change of it
            numbers = self._numbers(value)
            return "*" if len(numbers) > self.high - self.low else value.replace(" ", "")
        numbers = self._numbers(value)
        if not numbers:
            raise ValueError(f"{self.name} is empty")
        if len(numbers) > self.high - self.low:
            return "*"
        return ",".join(map(str, sorted(numbers)))

    def _numbers(self, value: Field) -> set[int]:
        if isinstance(value, bool):
            raise TypeError(f"{self.name} is a number or text, not {value!r}")
        if isinstance(value, int):
            return {self._number(str(value))}
        if isinstance(value, str):
            return {number for term in value.split(",") for number in self._term(term.strip())}
        return {number for member in value for number in self._numbers(member)}

    def _term(self, term: str) -> list[int]:
        span, slash, step = term.partition("/")
        if slash and (not step.isdigit() or int(step) == 0 or not (span == "*" or "-" in span)):
            raise ValueError(f"{self.name} {term!r}: expected a range and a step, as in */5 or 8-18/2")
        if span == "*":
            numbers = list(range(self.low, self.high + 1))
        elif "-" in span:
            first, last = map(self._number, span.split("-", 1))
            # past the end it goes on at the beginning: fri-mon
            numbers = (
                list(range(first, last + 1))
                if first <= last
                else [*range(first, self.high + 1), *range(self.low, last + 1)]
            )
        else:
            numbers = [self._number(span)]
        return numbers[:: int(step)] if slash else numbers

    def _number(self, text: str) -> int:
        text = text.strip().lower()
        if self.names and text[:3] in self.names and text.isalpha():
            return self.names.index(text[:3]) + self.low
        number = int(text) if text.isdigit() else -1
        if self.names is _DAYS and number == len(_DAYS):
            return 0
        if not self.low <= number <= self.high:
            raise ValueError(f"{self.name} {text!r}: expected {self.low} to {self.high}")
        return number


_MINUTE = _Range("minute", 0, 59)
_HOUR = _Range("hour", 0, 23)
_DAY_OF_MONTH = _Range("day_of_month", 1, 31)
_MONTH_OF_YEAR = _Range("month_of_year", 1, 12, _MONTHS)
_DAY_OF_WEEK = _Range("day_of_week", 0, 6, _DAYS)


class schedule:  # noqa: N801 - Celery's name
    """Once every so many seconds."""

    def __init__(self, run_every: float | timedelta) -> None:
        self.run_every = duration("run_every", run_every)
        if self.run_every < timedelta(seconds=1):
            raise ValueError(f"a schedule ticks once a second at most, not every {self.run_every}")

    @property
    def spec(self) -> str:
        return f"{_EVERY}{self.run_every.total_seconds():g}"

    def next_after(self, moment: datetime, zone: tzinfo = UTC) -> datetime:
        """The tick that follows one at this moment."""
        return moment + self.run_every

    def __repr__(self) -> str:
        return f"<schedule: {self.spec}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (schedule, crontab)) and other.spec == self.spec

    def __hash__(self) -> int:
        return hash(self.spec)


class crontab:  # noqa: N801 - Celery's name
    """At these minutes of these hours of these days: all five fields have to match, as in Celery.

    In a zone with summer time, a tick of a certain hour that the change leaves out comes right after it,
    and one that the change would repeat comes once; ticks of every hour, or of every few minutes, go on
    by elapsed time. Raises ValueError for what never comes.
    """

    def __init__(
        self,
        minute: Field = "*",
        hour: Field = "*",
        day_of_week: Field = "*",
        day_of_month: Field = "*",
        month_of_year: Field = "*",
    ) -> None:
        self.minute, self.hour = _MINUTE.spelled(minute), _HOUR.spelled(hour)
        self.day_of_month = _DAY_OF_MONTH.spelled(day_of_month)
        self.month_of_year = _MONTH_OF_YEAR.spelled(month_of_year)
        self.day_of_week = _DAY_OF_WEEK.spelled(day_of_week)
        self.next_after(datetime(2000, 1, 1, tzinfo=UTC))

    @classmethod
    def from_string(cls, fields: str) -> crontab:
        """`minute hour day_of_month month_of_year day_of_week`, as in a crontab; raises ValueError."""
        try:
            minute, hour, day_of_month, month_of_year, day_of_week = fields.split()
        except ValueError:
            raise ValueError(f"{fields!r} is no crontab: expected five fields, like '*/5 * * * *'") from None
        return cls(minute, hour, day_of_week, day_of_month, month_of_year)

    @property
    def spec(self) -> str:
        return f"{self.minute} {self.hour} {self.day_of_month} {self.month_of_year} {self.day_of_week}"

    def next_after(self, moment: datetime, zone: tzinfo = UTC) -> datetime:
        """The first tick after this moment, by the clocks of the zone."""
        try:
            ticks = CronSim(self.spec, moment.astimezone(zone))
            ticks.day_and = True
            # in an hour that the clocks repeat, its first run comes again
            return next(tick for tick in map(_as_utc, ticks) if tick > moment)
        except (CronSimError, StopIteration):
            raise ValueError(f"{self!r} never comes") from None

    def __repr__(self) -> str:
        return f"<crontab: {self.spec} (m/h/dM/MY/d)>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (schedule, crontab)) and other.spec == self.spec

    def __hash__(self) -> int:
        return hash(self.spec)


#: what `beat_schedule` and `add_periodic_task` take; numbers are seconds
Recurring = schedule | crontab | float | timedelta


def every(
    *, seconds: float = 0, minutes: float = 0, hours: float = 0, days: float = 0, weeks: float = 0
) -> schedule:
    """Once in so much time."""
    return schedule(timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days, weeks=weeks))


def maybe_schedule(recurring: Recurring) -> schedule | crontab:
    """What a number of seconds or a timedelta stands for; raises TypeError for anything else."""
    if isinstance(recurring, (schedule, crontab)):
        return recurring
    if isinstance(recurring, (int, float, timedelta)):
        return schedule(recurring)
    raise TypeError(f"{recurring!r} is no schedule: use crontab(…), a timedelta, or a number of seconds")


def parse(spec: str) -> schedule | crontab:
    """The schedule with this spec; raises ValueError."""
    if spec.startswith(_EVERY):
        return schedule(float(spec.removeprefix(_EVERY)))
    return crontab.from_string(spec)


def next_tick(spec: str, zone: str, *, last: datetime, now: datetime) -> datetime:
    """The first tick after `now` of a schedule that ticked last, or began, at `last`.

    Those that fell in between, because nothing ran, are left out: an interval keeps its pace.
    """
    recurring = parse(spec)
    if isinstance(recurring, schedule):
        missed = max(0, (now - last) // recurring.run_every)
        return last + (missed + 1) * recurring.run_every
    return recurring.next_after(now, zone_named(zone))


def zone_named(name: str) -> tzinfo:
    """The time zone of this name; raises ValueError."""
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r} here: use a name like Europe/Vienna") from None


def _as_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
