"""Storing new jobs on SQLite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import orjson

from outsourced.sql.dialects.sqlite.batch import SQLiteBatch
from outsourced.sql.dialects.sqlite.moves import between, later, stored
from outsourced.sql.lifecycle import REPEATS_AFTER
from outsourced.states import LIVE, Reason, State

_JOB = """
INSERT INTO outsourced_jobs (id, queue_id, task_id, priority, state, version, created_at, runs_at, expires_at,
  runs_after, starts_at, expires_after, stuck_after, repeats_after_fail, repeats_after_complete, repeat_of,
  attempt, failures, losses, lost_deliveries, max_retries, max_losses, owner_type, owner_id, client_id,
  parent_id, root_id, unique_key, live_key, bounded_queue_id, has_attachment)
VALUES (:id, :queue_id, :task_id, :priority, :state, 1, :now,
  :due, :expiry, :runs_after, :starts_at, :expires_after, :stuck_after, :repeats_after_fail,
  :repeats_after_complete, :repeat_of, 0, 0, 0, 0, :max_retries, :max_losses, :owner_type, :owner_id,
  :client_id, :parent_id, :root_id, :unique_key, :unique_key, :bounded_queue_id, :has_attachment)
"""
_ARGS = "INSERT INTO outsourced_job_args (job_id, args) VALUES (:id, :args)"
_HISTORY = """
INSERT INTO outsourced_history (job_id, seq, to_state, event, attempt, actor, at, reason)
VALUES (:id, 1, :state, 'enqueue', 0, :actor, :now, :reason)
"""

# what an ended job is repeated with: as it was, its dates moved on to its next start
_REPEATED = f"""
SELECT j.id AS repeat_of, j.queue_id, j.task_id, j.priority,
  max(outsourced_later(j.starts_at, {REPEATS_AFTER}), :now) AS runs_at, NULL AS runs_in, 0 AS waits,
  j.expires_after, j.stuck_after, j.repeats_after_fail, j.repeats_after_complete,
  j.max_retries, j.max_losses, j.owner_type, j.owner_id, j.client_id, j.parent_id, j.root_id, j.unique_key,
  CASE WHEN q.capacity IS NOT NULL THEN q.id END AS bounded_queue_id, j.has_attachment, a.args
FROM outsourced_jobs j
JOIN outsourced_queues q ON q.id = j.queue_id
JOIN outsourced_job_args a ON a.job_id = j.id
WHERE j.id IN (SELECT value FROM json_each(:ids)) AND j.starts_at IS NOT NULL AND {REPEATS_AFTER} IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM outsourced_jobs r WHERE r.repeat_of = j.id)
"""
_ATTACHMENT = """
INSERT INTO outsourced_files (job_id, kind, name, key, size, sha256, content_type, created_at)
SELECT :id, kind, name, key, size, sha256, content_type, :now
FROM outsourced_files WHERE job_id = :repeat_of AND kind = 'attachment'
"""
_MOVED = "SELECT state, queue_id, task_id FROM outsourced_jobs WHERE id = :id"

_ROOM = """
SELECT q.capacity - (SELECT count(*) FROM outsourced_jobs WHERE bounded_queue_id = :queue_id)
FROM outsourced_queues q WHERE q.id = :queue_id
"""
# jobs_owner
_LIVE = f"""
SELECT count(*) FROM outsourced_jobs WHERE owner_type = :type AND owner_id = :id
  AND state IN ({", ".join(f"'{state}'" for state in sorted(LIVE))})
"""


def has_room(batch: SQLiteBatch, queue_id: int, *, bounded: bool, asked: int) -> bool:
    """Whether the queue is still as bounded as believed, and `asked` more jobs fit."""
    for (free,) in batch.execute(_ROOM, {"queue_id": queue_id}):
        return (free is not None and free >= asked) if bounded else free is None
    return False


def live_jobs_of(batch: SQLiteBatch, owner_type: str, owner_id: str) -> int:
    """How many jobs of this owner have not ended."""
    ((number,),) = batch.execute(_LIVE, {"type": owner_type, "id": owner_id})
    return int(number)


def insert_jobs(
    batch: SQLiteBatch, rows: Sequence[Mapping[str, Any]], actor: str, *, reason: Reason | None = None
) -> None:
    """Stores the jobs with their arguments and first history rows, in order."""
    jobs = [
        {"repeat_of": None, **row, **_dates(batch, row), "actor": actor, "reason": reason} for row in rows
    ]
    for statement in (_JOB, _ARGS, _HISTORY):
        batch.execute_many(statement, jobs)


def repeat_jobs(batch: SQLiteBatch, job_ids: Sequence[UUID], actor: str) -> list[tuple[Any, ...]]:
    """Repeats those of the jobs that have ended, do repeat, and have not yet; gives rows as a move does."""
    ids = orjson.dumps([job_id.hex for job_id in job_ids]).decode()
    moved: list[tuple[Any, ...]] = []
    for row in batch.execute_named(_REPEATED, {"ids": ids}):
        expires_after = row.pop("expires_after")
        expires_at = None if expires_after is None else later(row["runs_at"], expires_after)
        job = row | {"id": uuid4(), "expires_at": expires_at, "expires_in": None}
        insert_jobs(batch, [job], actor, reason=Reason.REPEAT)
        batch.execute(_ATTACHMENT, job)
        moved += [(job["id"], *where, None) for where in batch.execute(_MOVED, job)]
    return moved


def _dates(batch: SQLiteBatch, row: Mapping[str, Any]) -> dict[str, Any]:
    if row["waits"]:
        return _dates_of_waiting(batch, row)
    due = _moment(batch, row["runs_at"], row["runs_in"]) or batch.moment
    expiry = _moment(batch, row["expires_at"], row["expires_in"])
    repeats = row["repeats_after_fail"] is not None or row["repeats_after_complete"] is not None
    return {
        "state": State.SCHEDULED if due > batch.moment else State.UNASSIGNED,
        "due": due,
        "expiry": expiry,
        "runs_after": None,
        "starts_at": due if repeats else None,
        "expires_after": between(due, expiry) if repeats and expiry is not None else None,
    }


def _dates_of_waiting(batch: SQLiteBatch, row: Mapping[str, Any]) -> dict[str, Any]:
    """The dates that count from the moment it waits no more are kept as distances."""
    return {
        "state": State.WAITING,
        "due": _moment(batch, row["runs_at"], None) or batch.moment,
        "expiry": _moment(batch, row["expires_at"], None),
        "runs_after": row["runs_in"],
        "starts_at": None,
        "expires_after": None if row["expires_in"] is None else row["expires_in"] - (row["runs_in"] or 0),
    }


def _moment(batch: SQLiteBatch, at: datetime | str | None, after: float | None) -> str | None:
    if at is None:
        return None if after is None else batch.later(after)
    return at if isinstance(at, str) else stored(at)
