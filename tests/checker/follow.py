"""I20: a job that waits for others moves on with the end that decides, and by nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from outsourced.states import TERMINAL, Event, Reason, State
from tests.checker.lives import Life
from tests.checker.records import Records, Step, Violation


def admitted_when_all_have_completed(records: Records, lives: Sequence[Life]) -> Iterator[Violation]:
    """I20: admitted once, no sooner than the last job it waits for has completed, and at once then.

    One that does not complete fails it at once. An errback is admitted for a failure, and cancelled
    where there is none to come. Likewise in each further life, of which a person's retry is the start.
    """
    known = {life.job_id: life for life in lives if life.steps}
    waits_for: dict[UUID, list[tuple[str, Life]]] = defaultdict(list)
    replaced_by: dict[UUID, list[tuple[str, Life]]] = defaultdict(list)
    for edge in records.edges:
        if edge.upstream_id in known:  # else it is long forgotten
            kind = "errors" if edge.kind == "error" else "others"
            found = replaced_by if edge.kind == "replacement" else waits_for
            found[edge.downstream_id].append((kind, known[edge.upstream_id]))
    for life in lives:
        is_replaced = False
        for steps in _waits(life):
            is_replaced = is_replaced or steps[0].event is Event.REPLACE  # and so in each further life
            upstreams = (replaced_by if is_replaced else waits_for)[life.job_id]
            if not upstreams:
                continue
            ends: dict[str, list[Step | None]] = {"others": [], "errors": []}
            for kind, upstream in upstreams:
                ends[kind].append(_end(upstream, *steps[:2]))
            for message in _faults(steps, is_last=steps[-1] is life.steps[-1], **ends):
                yield Violation(invariant="I20", job_id=life.job_id, message=message)


def _waits(life: Life) -> list[list[Step]]:
    """Its steps, anew from each at which it began to wait."""
    found: list[list[Step]] = []
    for step in life.steps:
        if step.to_state is State.WAITING:
            found.append([])
        if found:
            found[-1].append(step)
    return found


def _end(upstream: Life, waits: Step, decided: Step | None = None) -> Step | None:
    """How the job ended for one that began to wait then: it had ended, or ended first after that.

    Tried again before that one has moved on, it is waited for anew.
    """
    before, after = None, None
    for step in upstream.steps:
        if step.event is Event.RETRY and (decided is None or step.at < decided.at):
            before = after = None
        elif step.to_state in TERMINAL and step.at <= waits.at:
            before = step
        elif step.to_state in TERMINAL and after is None:
            after = step
    return before or after


def _faults(
    steps: list[Step], *, is_last: bool, others: list[Step | None], errors: list[Step | None]
) -> Iterator[str]:
    admits = [step for step in steps if step.event is Event.ADMIT]
    if len(admits) > 1:
        yield f"admitted {len(admits)} times"
    done = [end for end in others if end is not None and end.to_state is State.COMPLETED]
    missing = len(others) - len(done)
    failed = [end for end in errors if end is not None and end.to_state is State.FAILED]
    for admit in admits[:1]:
        if missing:
            yield f"admitted, but {missing} of the {len(others)} jobs it waits for had not completed"
        elif done and admit.at < _last(done):
            yield "admitted before the last job it waits for had completed"
        if errors and not failed:
            yield "admitted for a failure, but nothing failed"
    waits = is_last and steps[-1].to_state is State.WAITING
    if waits and any(end is not None and end.to_state is not State.COMPLETED for end in others):
        yield "a job that it waits for did not complete, and it waits on"
    # of a failure it is not said here whether it was the job's own, which alone an errback is for
    own = [end for end in failed if end.reason != Reason.UPSTREAM]
    if waits and not missing and (own or not errors):
        yield "all jobs that it waits for have completed, and it waits on"
    if waits and errors and None not in errors and not failed:
        yield "none of the jobs has failed for which it was to be called, and it waits on"


def _last(ends: list[Step]) -> datetime:
    return max(end.at for end in ends)
