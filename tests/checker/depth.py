"""I11: a bounded queue never holds more than its capacity, and refuses only when it is full.

Times order entries as they were committed, since the gate is held from before an entry's time until its
commit. An end is committed *after* its time, so the depth by times is a lower bound of the depth that
anybody could see: too many is never a false alarm, and a refusal is excused by ends of the last moment
(`COMMIT_TAKES`), which its producer need not have seen.

A job that joined its producer's own transaction (`Call.joined`) bears the time of the call, but enters
with the commit, however much later. For what is held against the queue the moment in its favour counts:
the latest where it held too many, the earliest where it refused.
"""

from __future__ import annotations

from bisect import bisect_left
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
    joined = {call.job_id: call.at[1] for call in calls if call.joined and call.at}
    for queue in records.queues:
        for step, level in _course(records, queue, lives, joined).overfull:
            held = f"{queue.name!r} holds {level.depth} jobs, its capacity is {level.capacity}"
            yield Violation(invariant="I11", job_id=step.job_id, message=f"step {step.seq}: {held}")
    courses = {queue.name: _course(records, queue, lives, {}) for queue in records.queues}
    for call in calls:
        if call.code == "queue_full" and call.queue in courses and (course := courses[call.queue]).levels:
            since, until = call.at or (course.levels[0].at, course.levels[-1].at)
            if not course.was_full(since - COMMIT_TAKES, until, call.asked):
                message = f"{call.queue!r} was said to be full between {since} and {until}, but was not"
                yield Violation(invariant="I11", job_id=call.job_id, message=message)


def _course(
    records: Records, queue: QueueRow, lives: Sequence[Life], joined: dict[UUID | None, datetime]
) -> Course:
    course, depth = Course(), 0
    capacity, changes = _capacities(records, queue)
    entries_and_ends = [
        change
        for life in lives
        if life.job and life.job.queue_id == queue.id
        for change in _changes(life, joined)
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


def _changes(life: Life, joined: dict[UUID | None, datetime]) -> Iterator[Change]:
    for number, step in enumerate(life.steps):
        if step.to_state in TERMINAL:
            yield Change(step.at, 0, step, None)
        elif step.event is Event.RETRY:
            yield Change(step.at, 2, step, None)
        elif step.from_state is None:
            # it was there before anything else happened to it
            later = [next_one.at for next_one in life.steps[number + 1 : number + 2]]
            yield Change(min([joined.get(life.job_id, step.at), *later]), 2, step, None)


def _capacities(records: Records, queue: QueueRow) -> tuple[int | None, list[Change]]:
    """The capacity before anything happened, and its changes; unknown is taken for unlimited."""
    changes = [
        Change(act.at, 1, None, act.details["capacity"] or None)
        for act in records.acts
        if act.subject == queue.name and act.act in ("queue.create", "queue.change")
        and "capacity" in act.details
    ]  # fmt: skip
    return (None if changes else queue.capacity), changes
