"""History as such: I4 it is a path of the published table, I5 it is all that happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from outsourced.states import TRANSITIONS, Event
from tests.checker.lives import Life
from tests.checker.records import Step, Violation


def path_of_the_table(lives: Iterable[Life]) -> Iterator[Violation]:
    """I4: each step starts where the one before ended, along an edge; only people undo an end."""
    for life in lives:
        before: Step | None = None
        for step in life.steps:
            if fault := _fault_of(step, before):
                yield Violation(invariant="I4", job_id=life.job_id, message=f"step {step.seq}: {fault}")
            before = step


def _fault_of(step: Step, before: Step | None) -> str | None:
    came_from = before.to_state if before else None
    if step.from_state != came_from:
        return f"{step.event} starts at {step.from_state}, but the job was {came_from or 'new'}"
    if step.to_state not in TRANSITIONS.get((step.from_state, step.event), ()):
        return f"there is no edge {step.from_state} --{step.event}--> {step.to_state}"
    if step.event is Event.RETRY and (step.actor.startswith("worker:") or step.actor == "janitor"):
        return f"{step.actor} has undone its end, which only people may"
    return None


def history_is_complete(lives: Iterable[Life]) -> Iterator[Violation]:
    """I5: numbers without gap or double, and the row says what the last step says."""
    for life in lives:
        for fault in _differences(life):
            yield Violation(invariant="I5", job_id=life.job_id, message=fault)


def _differences(life: Life) -> Iterator[str]:
    if life.job is None:
        yield "there is a history without a job"
        return
    numbers = [step.seq for step in life.steps]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"its steps are numbered {numbers}"
    if life.job.version != len(numbers):
        yield f"its row has changed {life.job.version} times, its history has {len(numbers)} rows"
    if not life.steps:
        return
    last = life.steps[-1]
    if (life.job.state, life.job.attempt) != (last.to_state, last.attempt):
        yield (
            f"its row is {life.job.state} in attempt {life.job.attempt}, "
            f"its history ends {last.to_state} in attempt {last.attempt}"
        )
