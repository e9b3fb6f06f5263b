"""What a worker says of leases that the guards did not find: replays, reclaims, refusals.

Read only when a guarded UPDATE hit no row. The job's row and its history tell which it is:
the same outcome again is answered as before; a lease rescued while nobody else has claimed the job
comes home; all else is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from outsourced import settling
from outsourced.records import (
    Command,
    CommandKind,
    Held,
    Outcome,
    Settled,
    SettledStatus,
    WorkerIdentity,
)
from outsourced.sql import exchange
from outsourced.sql.dialects import Batch
from outsourced.sql.models import Job, Transition
from outsourced.states import Event, State

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend

_LEASED = (State.ASSIGNED, State.WORKING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """What the transaction of the exchange did not reach."""

    outcomes: list[Outcome]
    begun: list[Held]
    held: list[Held]

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.begun or self.held)


@dataclass(slots=True, kw_only=True)
class Resolved:
    """The word on all that was missed, and the jobs that moved after all."""

    settled: list[Settled] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    moved: list[tuple[Any, ...]] = field(default_factory=list)


def resolve(backend: SqlBackend, worker: WorkerIdentity, missed: Missed) -> Resolved:
    """Looks each of them up, under the worker's lock, in one transaction; lets reclaimable leases go on."""

    def work(connection: Connection) -> Resolved:
        batch = backend.database.batch(connection)
        backend.database.dialect.require_worker(batch, worker.id, worker.epoch)
        said: list[Outcome | Held] = [*missed.outcomes, *missed.begun, *missed.held]
        ids = [one.job_id for one in said]
        ids += [outcome.replaced_by for outcome in missed.outcomes if outcome.replaced_by is not None]
        backend.database.dialect.lock_jobs(batch, ids)
        case = _Case(backend=backend, worker=worker, connection=connection, batch=batch)
        for outcome in missed.outcomes:
            case.settle(outcome)
        for held in missed.begun:
            case.begin(held)
        for held in missed.held:
            case.keep(held)
        return case.resolved

    return backend.database.write(work)


@dataclass(slots=True, kw_only=True)
class _Case:
    backend: SqlBackend
    worker: WorkerIdentity
    connection: Connection
    batch: Batch
    resolved: Resolved = field(default_factory=Resolved)

    def settle(self, outcome: Outcome) -> None:
        row = exchange.outcome_row(self.backend, outcome)
        # leased: another exchange of the worker's has brought it home since ours looked
        if self._reclaim(row) or self._leased(outcome):
            self._recorded(outcome, row)
            return
        code, reason = self._refusal(outcome)
        status = SettledStatus.REFUSED if code else SettledStatus.REPLAYED
        self.resolved.settled.append(
            Settled(lease_id=outcome.lease_id, status=status, code=code, reason=reason)
        )

    def _recorded(self, outcome: Outcome, row: Mapping[str, Any]) -> None:
        moved: list[tuple[Any, ...]] = []
        for move in exchange.SETTLING[outcome.kind]:
            moved = self._move(move, row)
        self.resolved.moved += moved
        self.resolved.settled.append(
            Settled(lease_id=outcome.lease_id, status=SettledStatus.RECORDED)
            if moved
            else Settled(
                lease_id=outcome.lease_id,
                status=SettledStatus.REFUSED,
                code="invalid_transition",
                reason=settling.unsettled(outcome),
            )
        )

    def begin(self, held: Held) -> None:
        row = exchange.begin_row(held)
        if self._reclaim(row) or self._leased(held):
            self._move("begin", row)
        else:
            self._lost(held)

    def keep(self, held: Held) -> None:
        if not self._reclaim(exchange.begin_row(held)) and not self._leased(held):
            self._lost(held)

    def _lost(self, held: Held) -> None:
        rows = self._rows(held)
        reason = settling.told(rows[-1]) if rows else None
        self.resolved.commands.append(Command(kind=CommandKind.LOST, lease_id=held.lease_id, reason=reason))

    def _reclaim(self, row: Mapping[str, Any]) -> bool:
        return bool(self._move("reclaim", row))

    def _move(self, move: str, row: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        parameters = exchange.constants(self.backend, self.worker)
        return list(self.backend.database.dialect.move(self.batch, move, [row], parameters))

    def _leased(self, held: Held | Outcome) -> bool:
        found = self.connection.scalar(
            select(Job.id).where(
                Job.id == held.job_id,
                Job.lease_id == held.lease_id,
                Job.worker_id == self.worker.id,
                Job.state.in_(_LEASED),
            )
        )
        return found is not None

    def _refusal(self, outcome: Outcome) -> tuple[str | None, str | None]:
        """Code and reason of the refusal; none where the same outcome was recorded before."""
        rows = self._rows(outcome)
        if not rows:
            return "not_found", None
        if settling.is_same(outcome, rows[-1], worker=self.worker.name):
            return None, None
        return "lease_lost", settling.told(rows[-1])

    def _rows(self, said: Held | Outcome) -> list[Any]:
        """The history of this lease, oldest first; empty when this worker never held it."""
        rows = self.connection.execute(
            select(Transition)
            .where(Transition.job_id == said.job_id, Transition.lease_id == said.lease_id)
            .order_by(Transition.seq)
        ).all()
        mine = rows and rows[0].event == Event.CLAIM and rows[0].actor == f"worker:{self.worker.name}"
        return list(rows) if mine else []
