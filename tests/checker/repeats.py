"""I19: a job that repeats does so once, in the moment it ends in a way it repeats after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from outsourced.states import REPEATABLE, State
from tests.checker.lives import Life
from tests.checker.records import JobRow, Records, Step, Violation

#: end and repeat are written in one transaction, each with a time of its own
ONE_MOMENT = timedelta(seconds=5)


def repeats_once(records: Records, lives: Sequence[Life]) -> Iterator[Violation]:
    """I19: for each job that has ended so there is one repeat, as old as one of its ends; else none."""
    queues = {queue.id for queue in records.queues}
    begun = {
        life.job.repeat_of: life.steps[0] for life in lives if life.job and life.job.repeat_of and life.steps
    }
    for life in lives:
        if life.job is None or life.job.queue_id not in queues:
            continue
        ends = [step for step in life.steps if _repeats_after(life.job, step.to_state)]
        first = begun.get(life.job_id)
        if ends and first is None:
            yield Violation(
                invariant="I19", job_id=life.job_id, message=f"{ends[0].to_state}, but not repeated"
            )
        elif first is not None and not any(_is_moment_of(end, first) for end in ends):
            yield Violation(invariant="I19", job_id=life.job_id, message="repeated when it had not ended so")


def _repeats_after(job: JobRow, state: State) -> bool:
    after = job.repeats_after_complete if state is State.COMPLETED else job.repeats_after_fail
    return state in REPEATABLE and after is not None


def _is_moment_of(end: Step, first: Step) -> bool:
    return end.at <= first.at <= end.at + ONE_MOMENT
