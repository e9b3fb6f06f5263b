"""The claim on PostgreSQL: heads → counts → lock, so that at most n rows are locked for n jobs."""

from __future__ import annotations

from functools import cache

from outsourced.sql.dialects.postgresql.moves import moves_at, statement

# pairs:  hired, unpaused queues × tasks the worker knows, as far as they ever held a job and have no limit
# heads:  the n pairs whose first job comes first          (jobs_ready, one probe a pair)
# best:   the n jobs that come first, without a lock        (jobs_ready)
# counts: how many of them each pair gives
# taken:  that many of each pair, locked, going around what other claimers hold
#         nor what this very request speaks of: a job that comes home late is not claimed anew
# alone:  a job with a lost delivery goes out alone, so that a poison job takes no others along
_WORKED = """
  FROM outsourced_accounts w
  JOIN outsourced_hires h ON h.worker_id = w.id
  JOIN outsourced_queues q ON q.id = h.queue_id AND NOT q.paused
  JOIN outsourced_queue_tasks qt ON qt.queue_id = q.id
  JOIN outsourced_tasks t ON t.id = qt.task_id AND t.name = ANY(%(tasks)s::text[])
  WHERE w.id = %(worker_id)s AND w.state = 'active' AND NOT w.paused"""
_PAIRS = f"""
pairs AS MATERIALIZED (
  SELECT qt.queue_id, qt.task_id {_WORKED} AND q.rate_id IS NULL AND t.rate_id IS NULL),
"""
_HEADS = """
heads AS MATERIALIZED (
  SELECT pairs.*, l.priority, l.seq FROM pairs CROSS JOIN LATERAL (
    SELECT priority, seq FROM outsourced_jobs
    WHERE state = 'unassigned' AND queue_id = pairs.queue_id AND task_id = pairs.task_id
    ORDER BY priority, seq LIMIT 1) l
  ORDER BY l.priority, l.seq LIMIT %(slots)s),
"""
_BEST = """
best AS MATERIALIZED (
  SELECT heads.queue_id, heads.task_id FROM heads CROSS JOIN LATERAL (
    SELECT priority, seq FROM outsourced_jobs
    WHERE state = 'unassigned' AND queue_id = heads.queue_id AND task_id = heads.task_id
    ORDER BY priority, seq LIMIT %(slots)s) l
  ORDER BY l.priority, l.seq LIMIT %(slots)s),
counts AS MATERIALIZED (SELECT queue_id, task_id, count(*) AS n FROM best GROUP BY 1, 2),
"""
_TAKE = """
taken AS MATERIALIZED (
  SELECT l.* FROM counts CROSS JOIN LATERAL (
    SELECT id, priority, seq, lost_deliveries FROM outsourced_jobs
    WHERE state = 'unassigned' AND queue_id = counts.queue_id AND task_id = counts.task_id
      AND (expires_at IS NULL OR expires_at > {now}) AND id <> ALL(%(said)s::uuid[])
    ORDER BY priority, seq LIMIT counts.n FOR NO KEY UPDATE SKIP LOCKED) l),
first AS MATERIALIZED (SELECT id, lost_deliveries FROM taken ORDER BY priority, seq LIMIT 1),
alone AS (
  SELECT taken.id FROM taken, first
  WHERE taken.id = first.id OR (first.lost_deliveries = 0 AND taken.lost_deliveries = 0)),
"""

# where there are limits; what is not said here is as above
# asked:   the limits before a job that could be claimed
# locked:  those with a permit, in the order of their numbers: other claims of such a job wait for this one
# permits: how many each has, by a clock that is read under its lock
# pairs:   as above, those of a limit without a permit left out, and how many jobs of each there may be
# within:  of the best, those that the limits of tasks in several queues, and of queues, allow together
_LIMITED_PAIRS = f"""
known AS MATERIALIZED (
  SELECT qt.queue_id, qt.task_id, t.rate_id AS task_rate, q.rate_id AS queue_rate {_WORKED}),
asked AS MATERIALIZED (
  SELECT DISTINCT v.rate_id
  FROM known CROSS JOIN LATERAL (VALUES (known.task_rate), (known.queue_rate)) v(rate_id)
  WHERE v.rate_id IS NOT NULL AND EXISTS (
    SELECT FROM outsourced_jobs
    WHERE state = 'unassigned' AND queue_id = known.queue_id AND task_id = known.task_id)),
locked AS MATERIALIZED (
  SELECT r.id, r.pace, r.burst, r.next_at FROM outsourced_rates r
  WHERE r.id IN (SELECT rate_id FROM asked)
    AND r.next_at <= {{now}} + make_interval(secs => (r.burst - 1) * r.pace)
  ORDER BY r.id FOR NO KEY UPDATE OF r),
permits AS MATERIALIZED (
  SELECT id, pace, greatest(next_at, at) AS starts_at,
    floor(burst - extract(epoch FROM greatest(next_at, at) - at)::float8 / pace + 1e-6)::int AS n
  FROM (SELECT locked.*, {{now}} AS at FROM locked OFFSET 0) l),
pairs AS MATERIALIZED (
  SELECT k.queue_id, k.task_id, t.n AS task_n, q.n AS queue_n, least(%(slots)s::int, t.n, q.n) AS room
  FROM known k LEFT JOIN permits t ON t.id = k.task_rate LEFT JOIN permits q ON q.id = k.queue_rate
  WHERE (k.task_rate IS NULL OR t.n > 0) AND (k.queue_rate IS NULL OR q.n > 0)),
"""
_LIMITED_BEST = """
best AS MATERIALIZED (
  SELECT heads.queue_id, heads.task_id, heads.task_n, heads.queue_n, l.priority, l.seq
  FROM heads CROSS JOIN LATERAL (
    SELECT priority, seq FROM outsourced_jobs
    WHERE state = 'unassigned' AND queue_id = heads.queue_id AND task_id = heads.task_id
    ORDER BY priority, seq LIMIT heads.room) l
  ORDER BY l.priority, l.seq LIMIT %(slots)s),
within AS (
  SELECT *, row_number() OVER (PARTITION BY task_id ORDER BY priority, seq) AS of_task,
    row_number() OVER (PARTITION BY queue_id ORDER BY priority, seq) AS of_queue FROM best),
counts AS MATERIALIZED (
  SELECT queue_id, task_id, count(*) AS n FROM within
  WHERE (task_n IS NULL OR of_task <= task_n) AND (queue_n IS NULL OR of_queue <= queue_n) GROUP BY 1, 2),
"""
_SPEND = """, spent AS (
  UPDATE outsourced_rates r SET next_at = p.starts_at + make_interval(secs => p.pace * s.n)
  FROM permits p JOIN (
    SELECT v.rate_id, count(*) AS n
    FROM u JOIN known ON known.queue_id = u.queue_id AND known.task_id = u.task_id
    CROSS JOIN LATERAL (VALUES (known.task_rate), (known.queue_rate)) v(rate_id)
    WHERE v.rate_id IS NOT NULL GROUP BY 1) s ON s.rate_id = p.id
  WHERE r.id = p.id)
"""

# what the claim answers, kept for its replay: nothing where nothing was claimed
_REPLY = """, reply AS (
  INSERT INTO outsourced_replies (caller, key, reply, at)
  SELECT %(caller)s, %(claim_key)s, json_agg(json_build_array(id, lease_id))::text, {now}
  FROM u HAVING count(*) > 0)
"""

LEASE_COLUMNS = """
SELECT {u}.id, {u}.lease_id, {u}.queue_id, {u}.task_id, {u}.attempt, {u}.failures, {u}.max_retries,
  {u}.priority,
  extract(epoch FROM {u}.expires_at - {now})::float8, {u}.lost_deliveries > 0, {u}.owner_type, {u}.owner_id,
  CASE WHEN (SELECT EXISTS (SELECT FROM outsourced_edges)) THEN EXISTS (
    SELECT FROM outsourced_edges e WHERE e.upstream_id = {u}.id AND e.passes AND e.kind <> 'error') END,
  {u}.parent_id, {u}.root_id,
  a.args,
  f.name, f.size, f.sha256, f.content_type
"""

_LEASES = (
    LEASE_COLUMNS
    + """FROM u JOIN outsourced_job_args a ON a.job_id = u.id
LEFT JOIN outsourced_files f ON f.job_id = u.id AND f.kind = 'attachment' AND u.has_attachment
ORDER BY u.priority, u.seq
"""
)

_REPLAYED = (
    LEASE_COLUMNS
    + """FROM outsourced_replies r
CROSS JOIN LATERAL json_array_elements(r.reply::json) AS e
JOIN outsourced_jobs j ON j.id = (e->>0)::uuid AND j.lease_id = (e->>1)::uuid
JOIN outsourced_job_args a ON a.job_id = j.id
LEFT JOIN outsourced_files f ON f.job_id = j.id AND f.kind = 'attachment' AND j.has_attachment
WHERE r.caller = %(caller)s AND r.key = %(claim_key)s AND j.worker_id = %(worker_id)s
  AND j.state IN ('assigned', 'working')
ORDER BY j.priority, j.seq
"""
)


@cache
def claim_statement(now: str, *, limited: bool = False) -> str:
    """The claim; not `limited`, it passes over what has a rate limit.

    Parameters: tasks, worker_id, instance_id, slots, said, ttl, actor, caller, claim_key.
    """
    pairs, best = (_LIMITED_PAIRS, _LIMITED_BEST) if limited else (_PAIRS, _BEST)
    pick = pairs + _HEADS + best + _TAKE
    tail = (_SPEND if limited else "") + _REPLY + _LEASES
    return statement(
        moves_at(now)["claim"],
        now,
        ctes=pick.replace("{now}", now),
        pick="SELECT id AS o_id, gen_random_uuid() AS i_lease_id FROM alone",
        tail=tail.replace("{now}", now).replace("{u}", "u"),
    )


@cache
def replay_statement(now: str) -> str:
    """The leases a claim was answered, as far as they are still good.

    Parameters: caller, claim_key, worker_id.
    """
    return _REPLAYED.replace("{now}", now).replace("{u}", "j")
