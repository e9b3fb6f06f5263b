"""I21: of what has a rate limit, no more is begun than one job a `pace`, and a burst.

Limits that people set are looked at, from the act to the next about the same thing. A claim reads its
permit's clock a moment before the one that its row of history bears.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from outsourced.rates import Rate, rate
from outsourced.states import Event
from tests.checker.leases import BETWEEN_READINGS
from tests.checker.lives import Life
from tests.checker.records import Act, Records, Step, Violation

Subject = tuple[str, int]  #: ("task.limit", its number), ("queue.limit", its number)


def begun_within_limits(records: Records, lives: Sequence[Life]) -> Iterator[Violation]:
    """I21: each claim comes when those before it, since the limit was set, are paid for."""
    acts = _acts_by_subject(records)
    claims: dict[Subject, list[Step]] = defaultdict(list)
    for life in lives:
        for step in life.steps if acts and life.job else ():
            if step.event is Event.CLAIM and life.job:
                claims["task.limit", life.job.task_id].append(step)
                claims["queue.limit", life.job.queue_id].append(step)
    for subject, about in acts.items():
        ends = [act.at for act in about[1:]] + [datetime.max.replace(tzinfo=records.at.tzinfo)]
        in_order = sorted(claims[subject], key=lambda step: step.at)
        for act, until in zip(about, ends, strict=True):
            limit = None if act.details["limit"] in (None, "unlimited") else rate(act.details["limit"])
            if limit is not None:
                under = [step for step in in_order if act.at <= step.at < until]
                yield from _too_many(act, limit, under)


def _acts_by_subject(records: Records) -> dict[Subject, list[Act]]:
    numbers = {("task.limit", task.name): task.id for task in records.tasks}
    numbers |= {("queue.limit", queue.name): queue.id for queue in records.queues}
    acts: dict[Subject, list[Act]] = defaultdict(list)
    for act in sorted(records.acts, key=lambda act: act.at):
        if (act.act, act.subject) in numbers:
            acts[act.act, numbers[act.act, act.subject]].append(act)
    return acts


def _too_many(act: Act, limit: Rate, claims: Sequence[Step]) -> Iterator[Violation]:
    ahead = timedelta(seconds=(limit.burst - 1) * limit.pace) + BETWEEN_READINGS
    paid_at: datetime | None = None
    for before, step in pairwise([None, *claims]):
        assert step is not None
        if paid_at is not None and paid_at - step.at > ahead:
            message = f"{act.subject}, limited to {act.details['limit']}, was begun at {step.at}, too soon"
            since = f" after {before.at}" if before else ""
            yield Violation(invariant="I21", job_id=step.job_id, message=message + since)
        start = step.at if paid_at is None else max(paid_at, step.at)
        paid_at = start + timedelta(seconds=limit.pace)
