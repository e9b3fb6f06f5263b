"""Moves as PostgreSQL statements: pick → UPDATE of jobs → history, all in one CTE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import orjson

from outsourced.sql.lifecycle import Move, moves, source_condition
from outsourced.states import State


class Syntax:
    """PostgreSQL's spelling: rows come as columns of `o`, constants as psycopg parameters."""

    job_id = "o_id"

    def __init__(self, now: str) -> None:
        self.now = now

    def after(self, seconds: str) -> str:
        return f"({self.now} + make_interval(secs => ({seconds})::float8))"

    def given(self, name: str) -> str:
        return f"i_{name}"

    def constant(self, name: str) -> str:
        return f"%({name})s"


def clock(offset: timedelta) -> str:
    if not offset:
        return "clock_timestamp()"
    return f"(clock_timestamp() + make_interval(secs => {offset.total_seconds()!r}))"


@cache
def moves_at(now: str) -> dict[str, Move]:
    return moves(Syntax(now))


def recordset(columns: Mapping[str, str]) -> str:
    """A FROM item: the rows of the parameter `rows`, of these columns and types.

    One JSON text costs a third of an array a column, most of it on our side of the connection.
    """
    return f"json_to_recordset(%(rows)s::json) AS i({', '.join(map(' '.join, columns.items()))})"


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """The parameter `rows`; values a statement does not name are passed over."""
    return orjson.dumps(rows, default=str).decode()  # a UUIDv7 is of a class of its own


@cache
def move_statement(now: str, name: str) -> str:
    """Parameters: rows, as `as_json` gives them, and the move's constants."""
    move = moves_at(now)[name]
    given = "".join(f", {column} AS i_{column}" for column in move.given)
    return statement(
        move, now, pick=f"SELECT id AS o_id{given} FROM {recordset({'id': 'uuid'} | dict(move.given))}"
    )


@cache
def sweep_statement(now: str, name: str, condition: str, limit: int | None) -> str:
    move = moves_at(now)[name]
    given = "".join(f", %(i_{column})s::{kind} AS i_{column}" for column, kind in move.given.items())
    locking = "FOR NO KEY UPDATE" if limit is None else f"LIMIT {limit} FOR NO KEY UPDATE SKIP LOCKED"
    return statement(
        move,
        now,
        pick=f"SELECT id AS o_id{given} FROM outsourced_jobs WHERE {source_condition(move)}"
        f" AND {move.guard} AND ({condition.replace('{now}', now)}) {locking}",
    )


def statement(
    move: Move, now: str, *, pick: str, tail: str | None = None, ctes: str = "", more: str = ""
) -> str:
    """The statement: picked rows → UPDATE of jobs → history (and result), giving the moved rows.

    `pick` gives `o_id` and the move's row values; `tail` replaces the final SELECT over `u`, and `more`
    comes before it.
    """
    # spelled so that no index over a state follows from it: the planner must come by the key
    source = source_condition(move).replace("state IN", "(state || '') IN")
    sets = "".join(f", {column} = {value}" for column, value in move.columns(Syntax(now)).items())
    lease = "u.lease_id" if move.lease != "NULL" else "NULL"
    result = (
        ", r AS (INSERT INTO outsourced_job_results (job_id, result, at)"
        f" SELECT id, i_result, {now} FROM u WHERE i_result IS NOT NULL"
        " ON CONFLICT (job_id) DO UPDATE SET result = excluded.result, at = excluded.at)"
        if move.stores_result
        else ""
    )
    payload = (
        ", p AS (UPDATE outsourced_job_args a SET args = u.i_payload FROM u"
        " WHERE a.job_id = u.id AND u.i_payload IS NOT NULL AND u.state = 'retrying')"
        if move.stores_payload
        else ""
    )
    handed = _HANDED if move.hands_over else ""
    # the outbox of callbacks: empty but for owners whose type has some
    ending = (
        ", e AS (INSERT INTO outsourced_endings (job_id, owner_type, tries, due_at)"
        f" SELECT u.id, u.owner_type, 0, {now} FROM u"
        " JOIN outsourced_listeners l ON l.owner_type = u.owner_type WHERE u.ended_at IS NOT NULL)"
        if move.ends
        else ""
    )
    values = "".join(f", i_{name}" for name in move.given)
    return (
        f"WITH {ctes}i AS MATERIALIZED ({pick}),"
        f" o AS MATERIALIZED (SELECT i.*, state AS from_state, {move.target} AS to_state,"
        f" {move.reason} AS why"
        f" FROM i JOIN outsourced_jobs j ON j.id = i.o_id WHERE {source} AND {move.guard}"
        " FOR NO KEY UPDATE OF j),"
        f" u AS (UPDATE outsourced_jobs j SET state = o.to_state{sets} FROM o"
        f" WHERE j.id = o.o_id AND {source} AND {move.guard}"
        f" RETURNING j.*, o.from_state, o.why{values}),"
        " h AS (INSERT INTO outsourced_history (job_id, seq, from_state, to_state, event, attempt, actor,"
        " lease_id, at, reason, error)"
        f" SELECT id, version, from_state, state, {move.event_by(Syntax(now))}, attempt, %(actor)s,"
        f" {lease}, {now}, why,"
        f" {move.error} FROM u){result}{payload}{handed}{ending}{_waiting(move)}{more} "
    ) + (tail or _MOVED + (_HAVING_LOCKED if move.ends else ""))


# what it was given before stays in its arguments; it waits no more for those that gave it
_HANDED = """, q AS (
  INSERT INTO outsourced_queue_tasks (queue_id, task_id)
  SELECT DISTINCT queue_id, task_id FROM u WHERE state = 'waiting' ON CONFLICT DO NOTHING),
b AS (
  UPDATE outsourced_edges e SET passes = false, position = -1 FROM u
  WHERE e.downstream_id = u.id AND e.position >= 0 AND u.state = 'waiting'),
n AS (
  INSERT INTO outsourced_edges (upstream_id, downstream_id, kind, passes, position, opens, closes)
  SELECT i_replaced_by, id, 'replacement', true, 0, 0, 0 FROM u WHERE state = 'waiting')"""

_MOVED = "SELECT id, state, queue_id, task_id, lease_id FROM u"
# what is not read is not run
_HAVING_LOCKED = " WHERE (SELECT count(*) FROM l) >= 0"

# those that wait for the jobs moved, locked by this statement, so that the next one sees what others that
# they wait for have committed: two that end at once must not each believe that the other goes on
_WAITING = """, l AS (
  SELECT d.id FROM (SELECT DISTINCT id FROM ({ids}) s ORDER BY id) s
  CROSS JOIN LATERAL (SELECT id FROM outsourced_jobs WHERE id = s.id FOR NO KEY UPDATE) d)"""
_NEXT = """
  SELECT e.id FROM u CROSS JOIN LATERAL (
    SELECT downstream_id AS id FROM outsourced_edges WHERE upstream_id = u.id AND met IS NULL OFFSET 0) e
  WHERE {ends} AND (SELECT EXISTS (SELECT FROM outsourced_edges))"""
# a replacement that has ended already, and not well, has the job end as it is followed
_OR_FAILS = """(u.ended_at IS NOT NULL OR EXISTS (
    SELECT FROM outsourced_jobs c
    WHERE c.id = u.i_replaced_by AND c.ended_at IS NOT NULL AND c.state <> 'completed'))"""
# who does not complete takes those along that wait for it, and those that wait for them
_ALL_NEXT = """
  WITH RECURSIVE s(id) AS ({next} UNION
    SELECT e.id FROM s CROSS JOIN LATERAL (
      SELECT downstream_id AS id FROM outsourced_edges WHERE upstream_id = s.id AND met IS NULL OFFSET 0) e)
  SELECT id FROM s"""


def _waiting(move: Move) -> str:
    if not move.ends:
        return ""
    following = _NEXT.format(ends=_OR_FAILS if move.hands_over else "u.ended_at IS NOT NULL")
    ids = following if move.targets == {State.COMPLETED} else _ALL_NEXT.format(next=following)
    return _WAITING.format(ids=ids)
