"""I8: whoever claimed was allowed to at that moment, by what people had done to workers and queues.

The audit row's time and the history row's time order an act and a claim as they were committed: an act
reads the database's clock while it holds the worker's lock exclusively, a claim while it shares it,
and both keep the lock until they commit (on SQLite: the one write lock). So an act is older than a
claim exactly where its time is. Equal times, to the microsecond, are no violation either way.

That order rests on the very lock that is on trial: a claim that did not take it may bear a time from
before an act and be committed after it. Such a claim gives itself away, since lock-outs and firings
take back what they find: its lease is open across the act. For a pause, which takes nothing back,
history cannot tell; the tests of pauses watch what is committed meanwhile.

How things stood before the first act on record follows from that act: one that changes nothing leaves
no row, so before a `hire` the worker was not hired. Where no act is on record, the final tables say.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from outsourced.states import Event
from tests.checker.lives import Hold, Life, holds_of
from tests.checker.records import Act, Records, Step, Violation

Fact = tuple[str, ...]  #: ("hired", worker, queue), ("locked", worker), ("paused", worker), ("closed", queue)

_FACTS = {
    "worker.lock": ("locked", True),
    "worker.unlock": ("locked", False),
    "worker.pause": ("paused", True),
    "worker.resume": ("paused", False),
    "worker.hire": ("hired", True),
    "worker.fire": ("hired", False),
    "queue.pause": ("closed", True),
    "queue.resume": ("closed", False),
}


#: acts that end leases, and whether those of begun jobs too
_SWEEPS = {"worker.lock": True, "worker.fire": False, "worker.destroy": True}


class Standings:
    """What was true of workers and queues, and when."""

    def __init__(self, records: Records) -> None:
        self._acts: dict[Fact, list[tuple[datetime, bool]]] = defaultdict(list)
        for act in sorted(records.acts, key=lambda act: act.at):
            for fact, holds in _facts_of(act):
                self._acts[fact].append((act.at, holds))
        self._finally = dict(_final(records))

    def may_be(self, fact: Fact, at: datetime) -> set[bool]:
        """What the fact was at the moment; both where the moment is that of an act."""
        acts = self._acts.get(fact)
        if not acts:
            return {self._finally.get(fact, False)}
        times = [time for time, _ in acts]
        first, last = bisect_left(times, at), bisect_right(times, at)
        before = acts[first - 1][1] if first else not acts[0][1]
        return {before, *(holds for _, holds in acts[first:last])}


def _facts_of(act: Act) -> Iterator[tuple[Fact, bool]]:
    if act.act == "worker.destroy":
        yield ("locked", act.subject), True
        for queue in act.details["queues"]:
            yield ("hired", act.subject, queue), False
    elif act.act in _FACTS:
        kind, holds = _FACTS[act.act]
        queue = (act.details["queue"],) if kind == "hired" else ()
        yield (kind, act.subject, *queue), holds


def _final(records: Records) -> Iterator[tuple[Fact, bool]]:
    for worker in records.workers:
        yield ("locked", worker.name), worker.state == "locked"
        yield ("paused", worker.name), worker.paused
        for queue in worker.queues:
            yield ("hired", worker.name, queue), True
    for line in records.queues:
        yield ("closed", line.name), line.paused


def claimed_by_the_entitled(records: Records, lives: Sequence[Life]) -> Iterator[Violation]:
    """I8: a claim needs a worker hired for the queue and neither of them paused; any step, one not locked."""
    standings = Standings(records)
    queues = {queue.id: queue.name for queue in records.queues}
    for life in lives:
        if life.job is None:
            continue  # I5
        queue = queues[life.job.queue_id]
        for step in life.steps:
            for why in _faults_of(step, queue, standings):
                message = f"step {step.seq}: {step.event} by {step.actor} at {step.at}, but {why}"
                yield Violation(invariant="I8", job_id=life.job_id, message=message)
    yield from _held_across_acts(records, lives, queues)


def _held_across_acts(records: Records, lives: Sequence[Life], queues: dict[int, str]) -> Iterator[Violation]:
    acts: dict[str, list[Act]] = defaultdict(list)
    for act in sorted(records.acts, key=lambda act: act.at):
        if act.act in _SWEEPS:
            acts[f"worker:{act.subject}"].append(act)
    for life in lives:
        queue = queues[life.job.queue_id] if life.job else None
        for hold in holds_of(life):
            for act in acts.get(hold.claim.actor, ()):
                if act.details.get("queue", queue) == queue and _spans(hold, act):
                    message = f"step {hold.claim.seq}: its lease is open across {act.act} at {act.at}"
                    yield Violation(invariant="I8", job_id=life.job_id, message=message)


def _spans(hold: Hold, act: Act) -> bool:
    """Whether the lease outlived the act that should have ended it."""
    takes_begun = _SWEEPS[act.act] or act.details.get("jobs") == "release"
    ended_at = hold.until if takes_begun else hold.begun_at or hold.until
    return hold.since < act.at and (ended_at is None or act.at < ended_at)


def _faults_of(step: Step, queue: str, standings: Standings) -> Iterable[str]:
    kind, _, worker = step.actor.partition(":")
    if kind != "worker":
        return [f"{step.actor} is no worker"] if step.event is Event.CLAIM else []
    needed: list[tuple[Fact, bool, str]] = [(("locked", worker), False, "it was locked out")]
    if step.event is Event.CLAIM:
        needed += [
            (("hired", worker, queue), True, f"it was not hired for {queue!r}"),
            (("paused", worker), False, "it was paused"),
            (("closed", queue), False, f"the queue {queue!r} was paused"),
        ]
    return [why for fact, wanted, why in needed if wanted not in standings.may_be(fact, step.at)]
