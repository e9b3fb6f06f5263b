"""I11: a bounded queue never holds more than its capacity, and refuses only when it is full.

Times order entries as they were committed, since the gate is held from before an entry's time until its
commit. But an end is committed *after* its time: by the answer to the call that brought it about, where
that call is known, else some moments later (`COMMIT_TAKES`). And a job that joined its producer's own
transaction (`Call.joined`) bears the time of the call, and enters with the commit, however much later.

So what anybody could see lies between two courses, and what is held against the queue is judged by the one
in its favour: by latest entries and earliest ends where it held too many, by the reverse where it refused.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from outsourced.states import TERMINAL, Event
from tests.checker.lives import Life
from tests.checker.records import Call, QueueRow, Records, Step, Violation

#: an end may be committed this much later than the time it bears
COMMIT_TAKES = timedelta(seconds=5)


class Change(NamedTuple):
    """Something that happened to a queue; at one moment ends come first, then its capacity."""

    at: datetime
    rank: int
    step: Step | None
    capacity: int | None


class Level(NamedTuple):
    """How a queue stood from a moment on."""

    at: datetime
    depth: int
    capacity: int | None


@dataclass(slots=True)
class Course:
    """A queue's depth over time."""

    levels: list[Level] = field(default_factory=list)
    overfull: list[tuple[Step, Level]] = field(default_factory=list)

    def was_full(self, since: datetime, until: datetime, asked: int) -> bool:
        """Whether at some moment between, `asked` more jobs would have been too many."""
        times = [level.at for level in self.levels]
        first = max(0, bisect_left(times, since) - 1)
        return any(
            level.capacity is not None and level.depth + asked > level.capacity
            for level in self.levels[first:]
            if level.at <= until
        )


def bounded_queues_hold(
    records: Records, lives: Sequence[Life], calls: Iterable[Call]
) -> Iterator[Violation]:
    """I11: no job entered a full queue, and no producer was refused by one that was not."""
    calls = list(calls)
    lowest, highest = _Lowest(calls), _Highest(calls)
    for queue in records.queues:
        for step, level in _course(records, queue, lives, lowest).overfull:
            held = f"{queue.name!r} holds {level.depth} jobs, its capacity is {level.capacity}"
            yield Violation(invariant="I11", job_id=step.job_id, message=f"step {step.seq}: {held}")
    courses = {queue.name: _course(records, queue, lives, highest) for queue in records.queues}
    for call in calls:
        if call.code == "queue_full" and call.queue in courses and (course := courses[call.queue]).levels:
            since, until = call.at or (course.levels[0].at, course.levels[-1].at)
            if not course.was_full(since, until, call.asked):
                message = f"{call.queue!r} was said to be full between {since} and {until}, but was not"
                yield Violation(invariant="I11", job_id=call.job_id, message=message)


class _Lowest:
    """The moments by which a queue is at its emptiest."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._joined = {call.job_id: call.at[1] for call in calls if call.joined and call.at}

    def entered(self, step: Step) -> datetime:
        return self._joined.get(step.job_id, step.at)

    def ended(self, step: Step) -> datetime:
        return step.at


class _Highest:
    """The moments by which it is at its fullest."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._ending: dict[UUID | None, list[tuple[datetime, datetime]]] = defaultdict(list)
        for call in calls:
            if call.kind in ("settle", "cancel") and call.at:
                self._ending[call.job_id].append(call.at)

    def entered(self, step: Step) -> datetime:
        return step.at

    def ended(self, step: Step) -> datetime:
        answered = [until for since, until in self._ending[step.job_id] if since <= step.at <= until]
        return max(answered, default=step.at + COMMIT_TAKES)


def _course(records: Records, queue: QueueRow, lives: Sequence[Life], moments: _Lowest | _Highest) -> Course:
    course, depth = Course(), 0
    capacity, changes = _capacities(records, queue)
    entries_and_ends = [
        change
        for life in lives
        if life.job and life.job.queue_id == queue.id
        for change in _changes(life, moments)
    ]
    for change in sorted(changes + entries_and_ends, key=lambda change: change[:2]):
        if change.step is None:
            capacity = change.capacity
        else:
            depth += -1 if change.step.to_state in TERMINAL else 1
        course.levels.append(Level(change.at, depth, capacity))
        if change.rank == 2 and change.step and capacity is not None and depth > capacity:
            course.overfull.append((change.step, course.levels[-1]))
    return course


def _changes(life: Life, moments: _Lowest | _Highest) -> Iterator[Change]:
    for number, step in enumerate(life.steps):
        if step.to_state in TERMINAL:
            yield Change(moments.ended(step), 0, step, None)
        elif step.event is Event.RETRY:
            yield Change(step.at, 2, step, None)
        elif step.from_state is None:
            # it was there before anything else happened to it
            later = [next_one.at for next_one in life.steps[number + 1 : number + 2]]
            yield Change(min([moments.entered(step), *later]), 2, step, None)


def _capacities(records: Records, queue: QueueRow) -> tuple[int | None, list[Change]]:
    """The capacity before anything happened, and its changes; unknown is taken for unlimited."""
    changes = [
        Change(act.at, 1, None, act.details["capacity"] or None)
        for act in records.acts
        if act.subject == queue.name and act.act in ("queue.create", "queue.change")
        and "capacity" in act.details
    ]  # fmt: skip
    return (None if changes else queue.capacity), changes
