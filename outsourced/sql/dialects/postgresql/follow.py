"""What the ends of jobs mean for those that wait for them: one statement after each move that may end some.

The move has locked all who wait for the jobs it ended, so that this statement's snapshot knows of every
other end that they waited for. Results and errors are put into the next job's arguments as text, unparsed.
"""

from __future__ import annotations

from functools import cache

from outsourced.following import ARGS_OPEN, CHORD_ERROR, ERROR_HEAD, FAILED, MAX_INPUT, REVOKED
from outsourced.sql.dialects.postgresql.moves import moves_at, statement
from outsourced.states import Reason

# came:    what has come over which edge: good is a completion, raised a failure of its own, or a chord's,
#          and cause says that there is one upstream;
#          who does not complete takes along all that wait for it. pk_outsourced_edges
# settled: it is noted on the edges, so that it comes once
# told:    the same, by the job that waits
# stands:  what that job still waits for. Counted up to one more than has come: not how long it still is.
#          outsourced_edges_downstream
# verdict: what becomes of it, and how much it is given
_CTES = """RECURSIVE
came (upstream_id, downstream_id, kind, good, raised, cause, type, message) AS (
  SELECT e.upstream_id, e.downstream_id, e.kind, u.state = 'completed', u.state = 'failed',
    u.state = 'failed', w.type, w.message
  FROM outsourced_edges e
  JOIN outsourced_jobs u ON u.id = e.upstream_id AND u.ended_at IS NOT NULL
  LEFT JOIN LATERAL (
    SELECT
      CASE WHEN u.state <> 'failed' THEN '{revoked}' ELSE coalesce(h.head[1], '{failed}') END AS type,
      CASE WHEN u.state <> 'failed' THEN 'job ' || u.id || ' is ' || u.state
        ELSE coalesce(h.head[2], 'job ' || u.id || ' is failed: ' || trim('"' FROM to_json(u.reason)::text))
      END AS message
    FROM (SELECT (
      SELECT regexp_match(error, '{error_head}') FROM outsourced_history
      WHERE job_id = u.id AND error IS NOT NULL ORDER BY seq DESC LIMIT 1) AS head) h
  ) w ON u.state <> 'completed'
  WHERE e.upstream_id = ANY(%(ids)s::uuid[]) AND e.met IS NULL
  UNION
  SELECT e.upstream_id, e.downstream_id, e.kind, false, c.cause AND c.kind <> 'chain', c.cause,
    CASE c.kind WHEN 'chord' THEN '{chord_error}' ELSE c.type END,
    CASE c.kind WHEN 'chord' THEN {dependency} ELSE c.message END
  FROM came c CROSS JOIN LATERAL (
    SELECT upstream_id, downstream_id, kind FROM outsourced_edges
    WHERE upstream_id = c.downstream_id AND met IS NULL OFFSET 0) e
  WHERE NOT c.good AND c.kind <> 'error'),
settled AS (
  UPDATE outsourced_edges e SET met = c.met FROM (
    SELECT upstream_id, downstream_id, bool_or(CASE kind WHEN 'error' THEN raised ELSE good END) AS met
    FROM came GROUP BY 1, 2) c
  WHERE e.upstream_id = c.upstream_id AND e.downstream_id = c.downstream_id),
told AS MATERIALIZED (
  SELECT downstream_id AS id,
    count(DISTINCT upstream_id) FILTER (WHERE kind <> 'error') AS came,
    count(DISTINCT upstream_id) FILTER (WHERE kind = 'error') AS errors,
    bool_or(kind <> 'error' AND NOT good) AS fails,
    bool_or(kind = 'error' AND raised) AS raised,
    (array_agg(ARRAY[
      CASE c.kind WHEN 'chord' THEN '{chord_error}' ELSE c.type END,
      CASE c.kind WHEN 'chord' THEN {dependency} ELSE c.message END
    ]) FILTER (WHERE kind <> 'error' AND NOT good))[1:1] AS why,
    (array_agg(upstream_id) FILTER (WHERE kind = 'error' AND raised))[1] AS failed_id,
    (array_agg(ARRAY[type, message]) FILTER (WHERE kind = 'error' AND raised))[1:1] AS failed_why
  FROM came c GROUP BY downstream_id),
stands AS MATERIALIZED (
  SELECT t.*,
    (SELECT count(*) FROM (
      SELECT FROM outsourced_edges x WHERE x.downstream_id = t.id AND x.position >= 0
        AND x.kind IN ('chain', 'chord', 'replacement') AND x.met IS NULL LIMIT t.came + 1
    ) s) > t.came AS waits,
    (SELECT count(*) FROM (
      SELECT FROM outsourced_edges x WHERE x.downstream_id = t.id AND x.position >= 0
        AND x.kind = 'error' AND x.met IS NULL LIMIT t.errors + 1
    ) s) > t.errors AS may_raise,
    EXISTS (
      SELECT FROM outsourced_edges x WHERE x.downstream_id = t.id AND x.position >= 0 AND x.kind = 'error'
    ) AS is_errback,
    t.raised OR EXISTS (
      SELECT FROM outsourced_edges x WHERE x.downstream_id = t.id AND x.position >= 0
        AND x.kind = 'error' AND x.met
    ) AS is_called
  FROM told t JOIN outsourced_jobs d ON d.id = t.id AND d.state = 'waiting'),
verdict AS MATERIALIZED (
  SELECT s.*, CASE
    WHEN is_errback AND NOT is_called AND NOT may_raise THEN 'cancel'
    WHEN fails THEN 'fail'
    WHEN NOT waits AND (is_called OR NOT is_errback) THEN 'admit' END AS event
  FROM stands s),
weighed AS MATERIALIZED (
  SELECT v.*, CASE event WHEN 'admit' THEN (
    SELECT coalesce(sum(octet_length(r.result)), 0)
    FROM outsourced_edges x JOIN outsourced_job_results r ON r.job_id = x.upstream_id
    WHERE x.downstream_id = v.id AND x.position >= 0 AND x.passes AND x.kind <> 'error') ELSE 0 END AS size
  FROM verdict v WHERE event IS NOT NULL),
"""

_PICK = """
SELECT id AS o_id, event AS i_event,
  CASE event WHEN 'fail' THEN '{upstream}' WHEN 'cancel' THEN '{not_needed}' END AS i_reason,
  CASE event WHEN 'fail' THEN {why} END AS i_error,
  CASE WHEN size > {max_input} THEN '{{"$too_large":' || size || '}}' WHEN event = 'admit' THEN coalesce((
    SELECT string_agg(
      repeat('[', x.opens) || coalesce(r.result, 'null') || repeat(']', x.closes), ',' ORDER BY x.position)
    FROM outsourced_edges x LEFT JOIN outsourced_job_results r ON r.job_id = x.upstream_id
    WHERE x.downstream_id = w.id AND x.position >= 0 AND x.passes AND x.kind <> 'error'
  ), (
    SELECT '{{"$failed":{{"id":"' || f.id || '","task":' || to_json(t.name)::text || ',"error":' || coalesce((
      SELECT error FROM outsourced_history
      WHERE job_id = f.id AND error IS NOT NULL ORDER BY seq DESC LIMIT 1), {failed_why})
      || ',"call":' || a.args || '}}}}'
    FROM outsourced_jobs f JOIN outsourced_tasks t ON t.id = f.task_id
    JOIN outsourced_job_args a ON a.job_id = f.id
    JOIN outsourced_edges x ON x.upstream_id = f.id AND x.downstream_id = w.id AND x.passes
    WHERE f.id = w.failed_id
  )) END AS i_input
FROM weighed w"""

_FILL = """, f AS (
  UPDATE outsourced_job_args a SET args = '{open}' || u.i_input
    || CASE substr(a.args, {after}, 1) WHEN ']' THEN '' ELSE ',' END || substr(a.args, {after})
  FROM u WHERE a.job_id = u.id AND u.i_input IS NOT NULL)"""

#: in a statement of its own, so that the next one sees what has been added meanwhile
LOCK_BODIES = """
SELECT d.id FROM outsourced_jobs d
WHERE d.state || '' = 'waiting' AND d.id IN (
  SELECT downstream_id FROM outsourced_edges WHERE upstream_id = %(parent_id)s AND kind = 'chord')
ORDER BY d.id FOR NO KEY UPDATE OF d
"""
# mine: the bodies that wait for the parent still, and are locked. pk_outsourced_edges
# ends: the last of what each is given: it closes the list no more. outsourced_edges_downstream
ADD_TO_CHORD = """
WITH mine AS MATERIALIZED (
  SELECT e.downstream_id, e.passes FROM outsourced_edges e
  JOIN outsourced_jobs d ON d.id = e.downstream_id AND d.state || '' = 'waiting'
  WHERE e.upstream_id = %(parent_id)s AND e.kind = 'chord' AND e.met IS NULL),
ends AS MATERIALIZED (
  SELECT m.downstream_id, m.passes, x.upstream_id, x.position FROM mine m CROSS JOIN LATERAL (
    SELECT upstream_id, position FROM outsourced_edges
    WHERE downstream_id = m.downstream_id AND position >= 0 AND kind = 'chord'
    ORDER BY position DESC LIMIT 1) x),
opened AS (
  UPDATE outsourced_edges e SET closes = e.closes - 1 FROM ends
  WHERE e.upstream_id = ends.upstream_id AND e.downstream_id = ends.downstream_id)
INSERT INTO outsourced_edges (upstream_id, downstream_id, kind, passes, position, opens, closes)
SELECT %(id)s, downstream_id, 'chord', passes, position + 1, 0, 1 FROM ends
"""

_MOVED = "SELECT id, state, queue_id, task_id, NULL::uuid FROM u"


@cache
def follow_statement(now: str) -> str:
    """Parameters: ids, actor. Gives rows as a move does.

    Idempotent: what has come over an edge comes no more.
    """
    dependency = (
        "'Dependency ' || c.upstream_id || ' raised ' || regexp_replace(c.type, '^.*[.]', '')"
        " || '(''' || c.message || ''')'"
    )
    names = {"revoked": REVOKED, "failed": FAILED, "chord_error": CHORD_ERROR}
    pick = _PICK.format(
        max_input=MAX_INPUT,
        upstream=Reason.UPSTREAM,
        not_needed=Reason.NOT_NEEDED,
        why=_dumped("why[1][1]", "why[1][2]"),
        failed_why=_dumped("w.failed_why[1][1]", "w.failed_why[1][2]"),
    )
    return statement(
        moves_at(now)["follow"],
        now,
        ctes=_CTES.format(error_head=ERROR_HEAD, dependency=dependency, **names),
        pick=pick,
        more=_FILL.format(open=ARGS_OPEN, after=len(ARGS_OPEN) + 1),
        tail=_MOVED,
    )


def _dumped(kind: str, message: str) -> str:
    """As `following.Brief.dumped`, in SQL."""
    return f"""'{{"type":"' || {kind} || '","message":"' || {message} || '","traceback":"","causes":[]}}'"""
