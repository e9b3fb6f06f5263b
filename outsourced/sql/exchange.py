"""The exchange: a worker's outcomes in, leases out, in one transaction and one round trip.

Order inside the transaction: the worker's shared lock and whether it may act · its jobs by id ·
settle · begin · renew · progress · claim. What the guards did not hit is looked at afterwards, in `late`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from outsourced.errors import AuthenticationFailed, WorkerLocked
from outsourced.following import ACCUMULATE
from outsourced.records import (
    Changed,
    Command,
    CommandKind,
    ExchangeReply,
    ExchangeRequest,
    Failure,
    Held,
    JsonText,
    Lease,
    Outcome,
    OutcomeKind,
    Owner,
    Settled,
    SettledStatus,
    StoredFile,
    Told,
    WorkerIdentity,
)
from outsourced.settling import reason_of
from outsourced.sql import late, progress
from outsourced.sql.dialects import Batch, Refused, Rows
from outsourced.sql.models import Worker

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend

#: how an outcome is settled: the moves, in order
SETTLING: dict[OutcomeKind, tuple[str, ...]] = {
    OutcomeKind.COMPLETED: ("complete",),
    OutcomeKind.IGNORED: ("complete",),
    OutcomeKind.FAILED: ("fail",),
    OutcomeKind.RETRY: ("fail",),
    OutcomeKind.REJECTED: ("fail",),
    OutcomeKind.REPLACED: ("replace",),
    OutcomeKind.RELEASED: ("release",),
    OutcomeKind.CANCELLED: ("report_cancelled",),
    OutcomeKind.EXPIRED: ("report_expired",),
    OutcomeKind.LOST: ("begin", "report_lost"),
}

# jobs_cancelling: as good as always empty
_CANCELS = """
SELECT lease_id FROM outsourced_jobs
WHERE worker_id = {worker_id} AND cancel_requested_at IS NOT NULL AND ended_at IS NULL
  AND instance_id = {instance_id} AND state IN ('assigned', 'working')
"""


_UNCHANGED = Changed()


@dataclass(slots=True)
class _Answers:
    """What the statements of the transaction gave, readable after its end."""

    settled: list[Rows] = field(default_factory=list)
    begun: Rows = ()
    held: Rows = ()
    cancels: Rows = ()
    leases: Rows = ()


def exchange(backend: SqlBackend, worker: WorkerIdentity, request: ExchangeRequest) -> ExchangeReply:
    """Records what the worker says and claims for it; raises WorkerLocked or AuthenticationFailed.

    The same request again gets the same leases and the same word about its outcomes.
    """
    limited = bool(request.slots) and backend.limits.in_force()
    if any(outcome.kind is OutcomeKind.REPLACED for outcome in request.outcomes):
        backend.names.task_id(ACCUMULATE)  # a new name is written down in a transaction of its own
    try:
        answers = backend.database.run(lambda batch: _say(backend, batch, worker, request, limited=limited))
        leases = list(answers.leases)
    except Refused:
        raise why_refused(backend, worker) from None
    except IntegrityError:
        if not request.slots:
            raise
        # this claim was answered before and the answer was lost: settle what is new, claim nothing
        return _replayed(backend, worker, request)
    moved = [row for rows in answers.settled for row in rows]
    reached = {row[4] for row in moved}
    settled = [
        Settled(lease_id=outcome.lease_id, status=SettledStatus.RECORDED)
        for outcome in request.outcomes
        if outcome.lease_id in reached
    ]
    commands = [Command(kind=CommandKind.CANCEL, lease_id=_uuid(row[0])) for row in answers.cancels]
    missed = late.Missed(
        outcomes=[outcome for outcome in request.outcomes if outcome.lease_id not in reached],
        begun=_not_in({row[4] for row in answers.begun}, request.begun),
        held=_not_in({row[0] for row in answers.held}, request.held or ()),
    )
    if missed:
        try:
            resolved = late.resolve(backend, worker, missed)
        except Refused:
            raise why_refused(backend, worker) from None
        settled += resolved.settled
        commands += resolved.commands
        moved += resolved.moved
    backend.notify_of(moved)
    if request.slots and not leases:
        # an empty claim leaves no reply behind to collide with: the first one may have got what there was
        leases = _claimed_before(backend, worker, request)
    return ExchangeReply(
        leases=tuple(lease_of(backend, row) for row in leases),
        settled=tuple(settled),
        commands=tuple(commands),
    )


def _say(
    backend: SqlBackend, batch: Batch, worker: WorkerIdentity, request: ExchangeRequest, *, limited: bool
) -> _Answers:
    dialect = backend.database.dialect
    answers = _Answers()
    parameters = constants(backend, worker)
    dialect.require_worker(batch, worker.id, worker.epoch)
    backend.instances.introduce(batch, worker, request)
    ids = [one.job_id for one in _said(request)]
    ids += [outcome.replaced_by for outcome in request.outcomes if outcome.replaced_by is not None]
    if ids:
        dialect.lock_jobs(batch, ids)
    for moves, rows in _by_moves(backend, request.outcomes):
        for move in moves:
            moved = dialect.move(batch, move, rows, parameters)
        answers.settled.append(moved)
    if request.begun:
        answers.begun = dialect.move(batch, "begin", [begin_row(held) for held in request.begun], parameters)
    if request.held:
        answers.held = dialect.renew(batch, [begin_row(held) for held in request.held], parameters)
    if request.progress:
        progress.note(batch, worker, request.progress)
    answers.cancels = batch.execute(
        _CANCELS.format(worker_id=batch.parameter("worker_id"), instance_id=batch.parameter("instance_id")),
        {"worker_id": worker.id, "instance_id": request.instance.id},
    )
    if request.slots:
        wish = parameters | _wish(worker, request)
        answers.leases = dialect.claim(batch, wish, limited=limited)
    return answers


def constants(backend: SqlBackend, worker: WorkerIdentity) -> dict[str, Any]:
    """The values every move under this worker's leases takes."""
    return {
        "worker_id": worker.id,
        "actor": f"worker:{worker.name}",
        "ttl": backend.lease_ttl.total_seconds(),
    }


def _said(request: ExchangeRequest) -> list[Outcome | Held | Told]:
    """Every lease that the request speaks of."""
    return [*request.outcomes, *request.begun, *(request.held or ()), *request.progress]


def _wish(worker: WorkerIdentity, request: ExchangeRequest) -> dict[str, Any]:
    return {
        "tasks": list(request.tasks),
        "slots": request.slots,
        "said": [one.job_id for one in _said(request)],
        "instance_id": request.instance.id,
        "caller": f"worker:{worker.id}",
        "claim_key": f"claim:{request.claim_id}",
    }


def _by_moves(
    backend: SqlBackend, outcomes: Iterable[Outcome]
) -> Iterable[tuple[tuple[str, ...], list[dict[str, Any]]]]:
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for outcome in outcomes:
        groups.setdefault(SETTLING[outcome.kind], []).append(outcome_row(backend, outcome))
    return groups.items()


def outcome_row(backend: SqlBackend, outcome: Outcome) -> dict[str, Any]:
    """The values of an outcome that the settling moves take."""
    ran, changes = outcome.ran_for, outcome.changes or _UNCHANGED
    row = {
        "id": outcome.job_id,
        "lease_id": outcome.lease_id,
        "began_ago": None if ran is None else max(0.0, time.monotonic() - outcome.ended_at) + ran,
        "result": outcome.result,
        "error": None if outcome.error is None else dump_failure(outcome.error),
        "reason": reason_of(outcome),
        "wants_retry": outcome.kind is OutcomeKind.RETRY,
        "delay": outcome.delay or 0.0,
        "max_retries": outcome.max_retries,
        "payload": changes.payload,
        "priority": changes.priority,
        "expires_in": changes.expires_in,
    }
    if outcome.kind is OutcomeKind.REPLACED:
        row |= {"replaced_by": outcome.replaced_by, "task_id": backend.names.task_id(ACCUMULATE)}
    return row


def begin_row(held: Held) -> dict[str, Any]:
    """The values the moves `begin` and `reclaim` take."""
    ago = 0.0 if held.begun_at is None else max(0.0, time.monotonic() - held.begun_at)
    return {"id": held.job_id, "lease_id": held.lease_id, "began_ago": ago}


def _not_in(reached: set[UUID], said: Iterable[Held]) -> list[Held]:
    return [held for held in said if held.lease_id not in reached]


def _replayed(backend: SqlBackend, worker: WorkerIdentity, request: ExchangeRequest) -> ExchangeReply:
    reply = exchange(backend, worker, replace(request, slots=0, claim_id=None))
    rows = _claimed_before(backend, worker, request)
    return replace(reply, leases=tuple(lease_of(backend, row) for row in rows))


def _claimed_before(backend: SqlBackend, worker: WorkerIdentity, request: ExchangeRequest) -> list[Any]:
    parameters = constants(backend, worker) | _wish(worker, request)
    with backend.database.connect() as connection:
        batch = backend.database.batch(connection)
        return list(backend.database.dialect.replay(batch, parameters))


def why_refused(backend: SqlBackend, worker: WorkerIdentity) -> Exception:
    """The error for a worker that was just refused, whatever has changed since."""
    with backend.database.connect() as connection:
        row = connection.execute(
            select(Worker.state, Worker.epoch).where(Worker.id == worker.id, Worker.name == worker.name)
        ).one_or_none()
    # an epoch only grows: where it is the token's still, nothing but a lock can have been in the way
    if row is not None and (row.state == "locked" or row.epoch == worker.epoch):
        return WorkerLocked(f"worker {worker.name!r} is locked out", worker=worker.name)
    return AuthenticationFailed(
        "the token is void: its worker's credentials were reset or the worker is gone"
    )


def lease_of(backend: SqlBackend, row: Any) -> Lease:
    """The record for a row of the claim."""
    (job_id, lease_id, queue_id, task_id, attempt, failures, max_retries, priority, expires_in, redelivered,
     owner_type, owner_id, passes_result, parent_id, root_id,
     args, name, size, sha256, content_type) = row  # fmt: skip
    return Lease(
        id=_uuid(lease_id),
        job_id=_uuid(job_id),
        task=backend.names.task_name(task_id),
        queue=backend.names.queue_name(queue_id),
        payload=JsonText(args),
        attempt=attempt + 1,
        failures=failures,
        max_retries=max_retries,
        priority=priority,
        ttl=backend.lease_ttl.total_seconds(),
        expires_in=expires_in,
        confirm=bool(redelivered),
        owner=None if owner_type is None else Owner(type=owner_type, id=owner_id),
        passes_result=bool(passes_result),
        attachment=None
        if name is None
        else StoredFile(name=name, size=size, sha256=sha256, content_type=content_type),
        parent_id=None if parent_id is None else _uuid(parent_id),
        root_id=None if root_id is None else _uuid(root_id),
    )


def dump_failure(failure: Failure) -> str:
    """The failure as history keeps it."""
    return orjson.dumps(
        {
            "type": failure.type,
            "message": failure.message,
            "traceback": failure.traceback,
            "causes": failure.causes,
        }
    ).decode()


def load_failure(text: str | None) -> Failure | None:
    """The failure that `dump_failure` wrote."""
    if text is None:
        return None
    fields: Mapping[str, Any] = orjson.loads(text)
    causes = tuple((kind, message) for kind, message in fields["causes"])
    return Failure(
        type=fields["type"], message=fields["message"], traceback=fields["traceback"], causes=causes
    )


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(hex=value)
