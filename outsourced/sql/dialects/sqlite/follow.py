"""What the ends of jobs mean for those that wait for them, on SQLite: an edge at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from outsourced import following
from outsourced.following import Brief
from outsourced.records import EdgeKind
from outsourced.sql.dialects.sqlite.batch import SQLiteBatch
from outsourced.sql.dialects.sqlite.moves import move_job, row_key
from outsourced.states import Event, Reason, State

_EDGE = """
INSERT INTO outsourced_edges (upstream_id, downstream_id, kind, passes, position, opens, closes)
VALUES (:upstream_id, :downstream_id, :kind, :passes, :position, :opens, :closes)
"""

# the bodies that wait for it; pk_outsourced_edges
_BODIES = """
SELECT e.downstream_id, e.passes FROM outsourced_edges e
JOIN outsourced_jobs d ON d.id = e.downstream_id AND d.state = 'waiting'
WHERE e.upstream_id = :id AND e.kind = 'chord' AND e.met IS NULL
"""
# outsourced_edges_downstream
_LAST = """
SELECT upstream_id, position FROM outsourced_edges
WHERE downstream_id = :id AND position >= 0 AND kind = 'chord' ORDER BY position DESC LIMIT 1
"""
_REOPEN = """
UPDATE outsourced_edges SET closes = closes - 1 WHERE upstream_id = :last AND downstream_id = :id
"""

# pk_outsourced_edges
_OPEN = "SELECT downstream_id, kind FROM outsourced_edges WHERE upstream_id = :id AND met IS NULL"
_MET = """
UPDATE outsourced_edges SET met = :met WHERE upstream_id = :upstream_id AND downstream_id = :downstream_id
"""
# one of each kind and standing is enough to tell; outsourced_edges_downstream
_STANDING = "SELECT DISTINCT kind, met FROM outsourced_edges WHERE downstream_id = :id AND position >= 0"
_END = """
SELECT j.state, j.reason, (
  SELECT error FROM outsourced_history WHERE job_id = j.id AND error IS NOT NULL ORDER BY seq DESC LIMIT 1)
FROM outsourced_jobs j WHERE j.id = :id AND j.ended_at IS NOT NULL
"""
_SIZE = """
SELECT coalesce(sum(length(CAST(r.result AS BLOB))), 0)
FROM outsourced_edges x JOIN outsourced_job_results r ON r.job_id = x.upstream_id
WHERE x.downstream_id = :id AND x.position >= 0 AND x.passes AND x.kind <> 'error'
"""
_RESULTS = """
SELECT x.opens, r.result, x.closes
FROM outsourced_edges x LEFT JOIN outsourced_job_results r ON r.job_id = x.upstream_id
WHERE x.downstream_id = :id AND x.position >= 0 AND x.passes AND x.kind <> 'error' ORDER BY x.position
"""
_FAILED = """
SELECT j.id, t.name, a.args, (
  SELECT error FROM outsourced_history WHERE job_id = j.id AND error IS NOT NULL ORDER BY seq DESC LIMIT 1),
  j.reason
FROM outsourced_edges x
JOIN outsourced_jobs j ON j.id = x.upstream_id
JOIN outsourced_tasks t ON t.id = j.task_id
JOIN outsourced_job_args a ON a.job_id = j.id
WHERE x.downstream_id = :id AND x.position >= 0 AND x.kind = 'error' AND x.met AND x.passes LIMIT 1
"""


class _End(NamedTuple):
    """How a job ended, to those that wait for it."""

    id: UUID
    completed: bool
    raised: bool  #: it failed of its own, or as the body of a chord in whose header something did
    cause: bool  #: something failed of its own, here or upstream
    why: Brief | None


def insert_edges(batch: SQLiteBatch, rows: Sequence[Mapping[str, Any]]) -> None:
    """Stores what the jobs just stored wait for."""
    batch.execute_many(_EDGE, rows)


def add_to_chord(batch: SQLiteBatch, job_id: UUID, added: Sequence[UUID]) -> None:
    """Has the bodies that wait for the job wait for those too: their results come last."""
    for body, passes in batch.execute(_BODIES, {"id": job_id}):
        ((last, position),) = batch.execute(_LAST, {"id": body})
        batch.execute(_REOPEN, {"last": last, "id": body})
        edge = {"downstream_id": body, "kind": EdgeKind.CHORD, "passes": passes, "opens": 0}
        insert_edges(
            batch,
            [
                edge | {"upstream_id": one, "position": position + number, "closes": number == len(added)}
                for number, one in enumerate(added, start=1)
            ],
        )


def follow(batch: SQLiteBatch, job_ids: Sequence[UUID], actor: str) -> list[tuple[Any, ...]]:
    """Moves those that waited for the jobs that have ended; gives them as a move does."""
    ends = deque(end for job_id in job_ids if (end := _end_of(batch, job_id)) is not None)
    moved: list[tuple[Any, ...]] = []
    while ends:
        end = ends.popleft()
        for downstream, kind in batch.execute(_OPEN, {"id": end.id}):
            downstream_id, kind = UUID(hex=downstream), EdgeKind(kind)
            met = end.raised if kind is EdgeKind.ERROR else end.completed
            edge = {"upstream_id": end.id, "downstream_id": downstream_id, "met": met}
            batch.execute(_MET, edge)
            now = _move(batch, downstream_id, actor, end=end, kind=kind)
            moved += now
            ends += (_next_end(end, kind, row[0]) for row in now if row[1] == State.FAILED)
    return moved


def _end_of(batch: SQLiteBatch, job_id: UUID) -> _End | None:
    for state, reason, error in batch.execute(_END, {"id": job_id}):
        completed = state == State.COMPLETED
        why = None if completed else following.brief_of(job_id, State(state), error=error, reason=reason)
        failed = state == State.FAILED
        return _End(job_id, completed, raised=failed, cause=failed, why=why)
    return None


def _next_end(end: _End, kind: EdgeKind, job_id: UUID) -> _End:
    why = end.why and end.why.passed_on(kind, end.id)
    raised = end.cause and kind in following.RAISING
    return _End(job_id, completed=False, raised=raised, cause=end.cause, why=why)


def _move(
    batch: SQLiteBatch, job_id: UUID, actor: str, *, end: _End, kind: EdgeKind
) -> list[tuple[Any, ...]]:
    standing = [(EdgeKind(one), None if met is None else bool(met)) for one, met in _standing(batch, job_id)]
    event = following.verdict(standing)
    row: dict[str, Any] = {"id": job_id, "event": event, "reason": None, "error": None, "input": None}
    match event:
        case None:
            return []
        case Event.CANCEL:
            row["reason"] = Reason.NOT_NEEDED
        case Event.FAIL if end.why is not None:
            row |= {"reason": Reason.UPSTREAM, "error": end.why.passed_on(kind, end.id).dumped()}
        case Event.ADMIT:
            row |= _given(batch, job_id)
    parameters = {row_key(name): value for name, value in row.items()} | {"actor": actor}
    moved = move_job(batch, "follow", parameters)
    if moved and row["input"] is not None:
        _fill(batch, job_id, row["input"])
    return [(*one[:4], None) for one in moved]


def _standing(batch: SQLiteBatch, job_id: UUID) -> list[tuple[Any, ...]]:
    return batch.execute(_STANDING, {"id": job_id})


def _given(batch: SQLiteBatch, job_id: UUID) -> dict[str, Any]:
    """What comes first in the arguments of a job that is admitted."""
    ((size,),) = batch.execute(_SIZE, {"id": job_id})
    if size > following.MAX_INPUT:
        return {"input": following.withheld(size)}
    if results := batch.execute(_RESULTS, {"id": job_id}):
        return {"input": following.listed(results)}
    for failed, task, call, error, reason in batch.execute(_FAILED, {"id": job_id}):
        failed_id = UUID(hex=failed)
        told = error or following.brief_of(failed_id, State.FAILED, error=None, reason=reason).dumped()
        return {"input": following.failed_argument(failed_id, task, error=told, call=call)}
    return {}


def _fill(batch: SQLiteBatch, job_id: UUID, argument: str) -> None:
    ((payload,),) = batch.execute("SELECT args FROM outsourced_job_args WHERE job_id = :id", {"id": job_id})
    batch.execute(
        "UPDATE outsourced_job_args SET args = :args WHERE job_id = :id",
        {"id": job_id, "args": following.with_input(payload, argument)},
    )
