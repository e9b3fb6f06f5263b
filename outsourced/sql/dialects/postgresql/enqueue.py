"""Storing new jobs on PostgreSQL: one statement for any number, after the gates of their queues."""

from __future__ import annotations

from functools import cache

from outsourced.sql.dialects.postgresql.moves import recordset
from outsourced.sql.lifecycle import REPEATS_AFTER
from outsourced.states import LIVE, Reason

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
    "stuck_after": "float8",
    "repeats_after_fail": "float8",
    "repeats_after_complete": "float8",
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
    "waits": "bool",
    "args": "text",
}
#: likewise, of what a job waits for
NEW_EDGE = {
    "upstream_id": "uuid",
    "downstream_id": "uuid",
    "kind": "text",
    "passes": "bool",
    "position": "int4",
    "opens": "int2",
    "closes": "int2",
}

# shared by producers of an unlimited queue, exclusive for a bounded one: `queue change` takes it exclusively
GATE = "SELECT {timeout}, pg_advisory_xact_lock{shared}({kind}, %(queue_id)s)"

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


# jobs_owner; live states are named, so that ended jobs are not gone through
_OWNER_ROOM = """
SELECT {one} FROM (
  SELECT 1 FROM outsourced_jobs WHERE owner_type = %(type)s AND owner_id = %(id)s AND state IN ({live})
  LIMIT %(room)s + 1) s
HAVING count(*) <= %(room)s
"""


def owner_gate(kind: int, timeout: str) -> str:
    """Two owners with one hash wait for each other now and then, and that is all; parameters: type, id."""
    return f"SELECT {timeout}, pg_advisory_xact_lock({kind}, hashtext(%(type)s::text || ':' || %(id)s::text))"


@cache
def owner_room_statement(*, requires: bool) -> str:
    """One row where no more than `room` of the owner's jobs live; parameters: type, id, room.

    `requires`: division by zero where the answer is no.
    """
    live = ", ".join(f"'{state}'" for state in sorted(LIVE))
    if not requires:
        return _OWNER_ROOM.format(one=1, live=live)
    return f"SELECT 1 / count(*) FROM ({_OWNER_ROOM.format(one=1, live=live)}) room"


# what an ended job is repeated with: as it was, its dates moved on to its next start
# OFFSET 0: else the present moment is read twice, and dates of one start differ by a microsecond
_REPEATED = """(
  SELECT gen_random_uuid() AS id, j.queue_id, j.task_id, j.priority, next.start AS runs_at,
    NULL::float8 AS runs_in, next.start + make_interval(secs => j.expires_after) AS expires_at,
    NULL::float8 AS expires_in, j.stuck_after, j.repeats_after_fail, j.repeats_after_complete,
    j.max_retries, j.max_losses, j.owner_type, j.owner_id, j.client_id, j.parent_id, j.root_id, j.unique_key,
    CASE WHEN q.capacity IS NOT NULL THEN q.id END AS bounded_queue_id, j.has_attachment,
    false AS waits, a.args, j.id AS repeat_of
  FROM outsourced_jobs j
  CROSS JOIN LATERAL (
    SELECT greatest(j.starts_at + make_interval(secs => {after}), {now}) AS start OFFSET 0) AS next
  JOIN outsourced_queues q ON q.id = j.queue_id
  JOIN outsourced_job_args a ON a.job_id = j.id
  WHERE j.id = ANY(%(ids)s::uuid[]) AND j.starts_at IS NOT NULL AND {after} IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM outsourced_jobs r WHERE r.repeat_of = j.id)) AS i"""

_ATTACHMENTS = """, f AS (
  INSERT INTO outsourced_files (job_id, kind, name, key, size, sha256, content_type, created_at)
  SELECT j.id, f.kind, f.name, f.key, f.size, f.sha256, f.content_type, {now}
  FROM j JOIN outsourced_files f ON f.job_id = j.repeat_of AND f.kind = 'attachment')"""


@cache
def insert_statement(now: str) -> str:
    """Parameters: rows of NEW_JOB, as `as_json` gives them, and actor."""
    return _storing(now, f"(SELECT *, NULL::uuid AS repeat_of FROM {recordset(NEW_JOB)}) AS i")


@cache
def edges_statement() -> str:
    """Parameters: rows of NEW_EDGE, likewise."""
    columns = ", ".join(NEW_EDGE)
    return f"INSERT INTO outsourced_edges ({columns}) SELECT {columns} FROM {recordset(NEW_EDGE)}"


@cache
def repeat_statement(now: str) -> str:
    """Repeats those of the jobs that have ended, do repeat, and have not yet.

    Parameters: ids, actor. Gives rows as a move does.
    """
    source = _REPEATED.format(now=now, after=REPEATS_AFTER)
    # a conflict is not to be thought of; if there is one, the end of the job must be recorded all the same
    return _storing(
        now,
        source,
        on_conflict="ON CONFLICT DO NOTHING",
        stored="JOIN j USING (id)",
        reason=f"'{Reason.REPEAT}'",
        more=_ATTACHMENTS.format(now=now),
    )


def _storing(
    now: str, source: str, *, on_conflict: str = "", stored: str = "", reason: str = "NULL", more: str = ""
) -> str:
    """Stores the jobs of the FROM item `source` with their arguments and first history rows."""
    return f"""
WITH n AS MATERIALIZED (
  SELECT *,
    coalesce(runs_at, CASE WHEN NOT waits THEN moment + make_interval(secs => runs_in) END, moment) AS due,
    coalesce(expires_at, CASE WHEN NOT waits THEN moment + make_interval(secs => expires_in) END) AS expiry,
    coalesce(repeats_after_fail, repeats_after_complete) IS NOT NULL AS repeats, row_number() OVER () AS ord
  FROM {source} CROSS JOIN (SELECT {now} AS moment) AS clock),
j AS (
  INSERT INTO outsourced_jobs (id, queue_id, task_id, priority, state, version, created_at, runs_at,
    expires_at, runs_after, starts_at, expires_after, stuck_after, repeats_after_fail, repeats_after_complete,
    repeat_of, attempt, failures, losses, lost_deliveries, max_retries, max_losses, owner_type, owner_id,
    client_id, parent_id, root_id, unique_key, live_key, bounded_queue_id, has_attachment)
  SELECT id, queue_id, task_id, priority,
    CASE WHEN waits THEN 'waiting'
      WHEN coalesce(n.runs_at, moment) > moment OR n.runs_in > 0 THEN 'scheduled' ELSE 'unassigned' END,
    1, moment, due, expiry, CASE WHEN waits THEN runs_in END, CASE WHEN repeats THEN due END,
    CASE WHEN waits THEN expires_in - coalesce(runs_in, 0)
      WHEN repeats THEN extract(epoch FROM expiry - due) END, stuck_after, repeats_after_fail,
    repeats_after_complete, repeat_of, 0, 0, 0, 0, max_retries, max_losses, owner_type, owner_id, client_id,
    parent_id, root_id, unique_key, unique_key, bounded_queue_id, has_attachment
  FROM n ORDER BY ord {on_conflict}
  RETURNING id, state, queue_id, task_id, repeat_of),
a AS (INSERT INTO outsourced_job_args (job_id, args) SELECT id, args FROM n {stored}),
h AS (
  INSERT INTO outsourced_history (job_id, seq, to_state, event, attempt, actor, at, reason)
  SELECT id, 1, state, 'enqueue', 0, %(actor)s, {now}, {reason} FROM j){more}
SELECT id, state, queue_id, task_id, NULL::uuid FROM j
"""
