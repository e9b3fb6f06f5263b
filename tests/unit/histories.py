"""Hand-made histories for the tests of the checker: a job's life, told step by step."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from outsourced.states import Event, State
from tests.checker import Act, JobRow, QueueRow, Records, Start, Step, Violation, WorkerRow, check

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

QUEUES = (
    QueueRow(id=1, name="plain", capacity=None, paused=False),
    QueueRow(id=2, name="small", capacity=1, paused=False),
)
WORKERS = tuple(
    WorkerRow(name=name, state="active", paused=False, queues=frozenset({"plain", "small"}))
    for name in ("near", "far")
)


def at(second: float) -> datetime:
    """A moment of the story."""
    return NOON + timedelta(seconds=second)


class Tale:
    """A job's history and row. Each step is one second after the last, and right unless told otherwise."""

    def __init__(self, queue_id: int = 1, begins_at: float = 0) -> None:
        self.id = uuid4()
        self.queue_id = queue_id
        self.steps: list[Step] = []
        self.row: dict[str, Any] = {}
        self._seconds = itertools.count(begins_at)
        self.then(Event.ENQUEUE, State.UNASSIGNED, actor="server")

    @property
    def last(self) -> Step:
        return self.steps[-1]

    def then(self, event: Event, to_state: State, **told: Any) -> Tale:
        """Goes on with a step; what is not told follows from the one before."""
        before = self.steps[-1] if self.steps else None
        step = Step(
            job_id=self.id,
            seq=len(self.steps) + 1,
            from_state=before.to_state if before else None,
            to_state=to_state,
            event=event,
            attempt=before.attempt if before else 0,
            actor=before.actor if before else "server",
            lease_id=before.lease_id if before else None,
            at=at(next(self._seconds)),
        )
        self.steps.append(replace(step, **told))
        return self

    def claim(self, worker: str = "near", **told: Any) -> Tale:
        return self.then(
            Event.CLAIM, State.ASSIGNED, **({"actor": f"worker:{worker}", "lease_id": uuid4()} | told)
        )

    def begin(self, **told: Any) -> Tale:
        return self.then(Event.BEGIN, State.WORKING, **({"attempt": self.last.attempt + 1} | told))

    def complete(self, **told: Any) -> Tale:
        implied = int(self.last.to_state is State.ASSIGNED)
        return self.then(Event.COMPLETE, State.COMPLETED, **({"attempt": self.last.attempt + implied} | told))

    def fail(self, to_state: State, **told: Any) -> Tale:
        implied = int(self.last.to_state is State.ASSIGNED)
        return self.then(Event.FAIL, to_state, **({"attempt": self.last.attempt + implied} | told))

    def rescue(self, to_state: State, **told: Any) -> Tale:
        return self.then(Event.RESCUE, to_state, **({"actor": "janitor"} | told))

    def job(self) -> JobRow:
        """The row as the history makes it, but for what `row` says."""
        row: dict[str, Any] = {
            "id": self.id,
            "queue_id": self.queue_id,
            "state": self.last.to_state,
            "version": len(self.steps),
            "attempt": self.last.attempt,
            "failures": 0,
            "losses": 0,
            "max_retries": 3,
            "max_losses": 3,
            "runs_at": self.steps[0].at,
            "cancel_requested_at": None,
            "lease_id": self.last.lease_id,
            "reason": None,
        }
        return JobRow(**(row | self.row))

    def start(self, lease_id: UUID | None = None) -> Start:
        return Start(job_id=self.id, lease_id=lease_id)


def records(*tales: Tale, acts: tuple[Act, ...] = (), **more: Any) -> Records:
    """The database of these jobs alone, read an hour after noon."""
    told: dict[str, Any] = {"queues": QUEUES, "workers": WORKERS} | more
    return Records(
        at=at(3600),
        jobs=tuple(tale.job() for tale in tales),
        history=tuple(step for tale in tales for step in tale.steps),
        acts=acts,
        **told,
    )


def reported(*tales: Tale, acts: tuple[Act, ...] = (), workers: Any = WORKERS, **seen: Any) -> set[str]:
    """The invariants that the checker finds violated."""
    found: list[Violation] = check(records(*tales, acts=acts, workers=workers), **seen)
    return {violation.invariant for violation in found}
