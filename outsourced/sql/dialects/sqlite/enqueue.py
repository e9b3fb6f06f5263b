"""Storing new jobs on SQLite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outsourced.sql.dialects.sqlite.batch import SQLiteBatch

_JOB = """
INSERT INTO outsourced_jobs (id, queue_id, task_id, priority, state, version, created_at, runs_at, expires_at,
  attempt, failures, losses, lost_deliveries, max_retries, max_losses, owner_type, owner_id, client_id,
  parent_id, root_id, unique_key, live_key, bounded_queue_id, has_attachment)
VALUES (:id, :queue_id, :task_id, :priority, CASE WHEN :due > :now THEN 'scheduled' ELSE 'unassigned' END,
  1, :now,
  :due, :expiry, 0, 0, 0, 0, :max_retries, :max_losses, :owner_type, :owner_id, :client_id,
  :parent_id, :root_id, :unique_key, :unique_key, :bounded_queue_id, :has_attachment)
"""
_ARGS = "INSERT INTO outsourced_job_args (job_id, args) VALUES (:id, :args)"
_HISTORY = """
INSERT INTO outsourced_history (job_id, seq, to_state, event, attempt, actor, at)
VALUES (:id, 1, CASE WHEN :due > :now THEN 'scheduled' ELSE 'unassigned' END, 'enqueue', 0, :actor, :now)
"""

_ROOM = """
SELECT q.capacity - (SELECT count(*) FROM outsourced_jobs WHERE bounded_queue_id = :queue_id)
FROM outsourced_queues q WHERE q.id = :queue_id
"""


def has_room(batch: SQLiteBatch, queue_id: int, *, bounded: bool, asked: int) -> bool:
    """Whether the queue is still as bounded as believed, and `asked` more jobs fit."""
    for (free,) in batch.execute(_ROOM, {"queue_id": queue_id}):
        return (free is not None and free >= asked) if bounded else free is None
    return False


def insert_jobs(batch: SQLiteBatch, rows: Sequence[Mapping[str, Any]], actor: str) -> None:
    """Stores the jobs with their arguments and first history rows, in order."""
    jobs = [
        {
            **row,
            "actor": actor,
            "due": _moment(batch, row["runs_at"], row["runs_in"]) or batch.moment,
            "expiry": _moment(batch, row["expires_at"], row["expires_in"]),
        }
        for row in rows
    ]
    for statement in (_JOB, _ARGS, _HISTORY):
        batch.execute_many(statement, jobs)


def _moment(batch: SQLiteBatch, at: Any, after: float | None) -> Any:
    return at if at is not None or after is None else batch.later(after)
