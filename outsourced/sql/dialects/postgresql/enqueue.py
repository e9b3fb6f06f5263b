"""Storing new jobs on PostgreSQL: one statement for any number, after the gates of their queues."""

from __future__ import annotations

from functools import cache

from outsourced.sql.dialects.postgresql.moves import recordset

#: column → PostgreSQL type of what a new job brings; `args` goes to its side table
NEW_JOB = {
    "id": "uuid",
    "queue_id": "int4",
    "task_id": "int4",
    "priority": "int2",
    "runs_at": "timestamptz",
    "runs_in": "float8",
    "expires_at": "timestamptz",
    "expires_in": "float8",
    "max_retries": "int4",
    "max_losses": "int4",
    "owner_type": "text",
    "owner_id": "text",
    "client_id": "int4",
    "parent_id": "uuid",
    "root_id": "uuid",
    "unique_key": "text",
    "bounded_queue_id": "int4",
    "has_attachment": "bool",
    "args": "text",
}

# shared by producers of an unlimited queue, exclusive for a bounded one: `queue change` takes it exclusively
GATE = "SELECT pg_advisory_xact_lock{shared}({kind}, %(queue_id)s)"

# statements of their own after the gate, so that their snapshot sees the last winner's commit
_ROOM = """
SELECT {one} FROM outsourced_queues q WHERE q.id = %(queue_id)s AND q.capacity IS NOT NULL AND (
  SELECT count(*) FROM (
    SELECT 1 FROM outsourced_jobs WHERE bounded_queue_id = %(queue_id)s LIMIT q.capacity + 1) s
  ) + %(asked)s <= q.capacity
"""
_UNLIMITED = "SELECT {one} FROM outsourced_queues WHERE id = %(queue_id)s AND capacity IS NULL"


def room_statement(*, bounded: bool, requires: bool) -> str:
    """One row where there is room, or where an unlimited queue still is; parameters: queue_id, asked.

    `requires`: division by zero where the answer is no.
    """
    return (_ROOM if bounded else _UNLIMITED).format(one="1 / count(*)" if requires else "1")


@cache
def insert_statement(now: str) -> str:
    """Parameters: rows of NEW_JOB, as `as_json` gives them, and actor. Gives (id, state) of each."""
    return f"""
WITH n AS MATERIALIZED (
  SELECT *, coalesce(runs_at, {now} + make_interval(secs => coalesce(runs_in, 0))) AS due,
    coalesce(expires_at, {now} + make_interval(secs => expires_in)) AS expiry, row_number() OVER () AS ord
  FROM {recordset(NEW_JOB)}),
j AS (
  INSERT INTO outsourced_jobs (id, queue_id, task_id, priority, state, version, created_at, runs_at,
    expires_at,
    attempt, failures, losses, lost_deliveries, max_retries, max_losses, owner_type, owner_id, client_id,
    parent_id, root_id, unique_key, live_key, bounded_queue_id, has_attachment)
  SELECT id, queue_id, task_id, priority,
    CASE WHEN coalesce(n.runs_at, {now}) > {now} OR n.runs_in > 0 THEN 'scheduled' ELSE 'unassigned' END,
    1, {now}, due, expiry, 0, 0, 0, 0, max_retries, max_losses, owner_type, owner_id, client_id,
    parent_id, root_id, unique_key, unique_key, bounded_queue_id, has_attachment
  FROM n ORDER BY ord
  RETURNING id, state),
a AS (INSERT INTO outsourced_job_args (job_id, args) SELECT id, args FROM n),
h AS (
  INSERT INTO outsourced_history (job_id, seq, to_state, event, attempt, actor, at)
  SELECT id, 1, state, 'enqueue', 0, %(actor)s, {now} FROM j)
SELECT id, state FROM j
"""
