"""How many jobs to hold: what will begin within a second, and no more. Pure.

Prefetching hides the time of an exchange; too much of it strands short jobs behind a long one. So a
worker asks for what it expects to begin within `HORIZON`, and gives back what has not begun after
`PATIENCE`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: seconds within which a held job should begin
HORIZON = 1.0
#: seconds after which a job that has not begun is given back
PATIENCE = 2.0
#: leases asked for in one request
MAX_CLAIM = 100
#: leases held and not ended: one batch runs while the next is on its way
MAX_HELD = 200
#: weight of the newest run in a moving average
WEIGHT = 0.1
#: seconds; no task is taken to be shorter
_SHORTEST = 1e-5
#: seconds that even the shortest task may overrun, as a busy machine makes it
_GRACE = 0.05


class RunTimes:
    """Moving averages of how long tasks run: of each task, and of all together."""

    def __init__(self) -> None:
        self._by_task: dict[str, float] = {}
        self.typical: float | None = None  #: seconds; None: nothing has run yet

    def observe(self, task: str, seconds: float) -> None:
        """Takes a finished run into account."""
        seconds = max(seconds, _SHORTEST)
        known = self._by_task.get(task)
        self._by_task[task] = seconds if known is None else known + WEIGHT * (seconds - known)
        typical = self.typical
        self.typical = seconds if typical is None else typical + WEIGHT * (seconds - typical)

    def of(self, task: str) -> float:
        """Expected seconds of a run; an unknown task is taken to fill the horizon."""
        return self._by_task.get(task, HORIZON)

    def remaining(self, task: str, age: float) -> float:
        """Expected seconds until a run of this age ends.

        One a little beyond its average may take as long again; one far beyond it is not expected to end,
        nor is one of an unknown task.
        """
        average = self._by_task.get(task)
        if average is None or age > max(2 * average, _GRACE):
            return HORIZON
        return max(average - age, age)


def slots_wanted(
    slots: int,
    times: RunTimes,
    *,
    waiting: Sequence[str],
    running: Iterable[tuple[str, float]],
    coming: int = 0,
) -> int:
    """How many leases to ask for, given the tasks waiting here and those running with their age.

    `coming`: leases asked for already and not yet answered.
    """
    ages = list(running)
    held = len(waiting) + len(ages) + coming
    wanted = idle = slots - held
    if times.typical is not None:
        free = HORIZON * max(0, slots - len(ages))
        free += sum(max(0.0, HORIZON - times.remaining(task, age)) for task, age in ages)
        free -= sum(map(times.of, waiting)) + coming * times.typical
        wanted = max(idle, int(free / times.typical))
    return max(0, min(wanted, MAX_CLAIM, MAX_HELD - held))
