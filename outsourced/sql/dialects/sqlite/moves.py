"""Moves as SQLite statements: history from the old row, then the UPDATE, for one job at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from outsourced.sql.dialects import Batch
from outsourced.sql.lifecycle import Move, moves, source_condition
from outsourced.states import State

_RESULT = (
    "INSERT INTO outsourced_job_results (job_id, result, at) VALUES (:id, :i_result, :now)"
    " ON CONFLICT (job_id) DO UPDATE SET result = excluded.result, at = excluded.at"
)
_PAYLOAD = "UPDATE outsourced_job_args SET args = :i_payload WHERE job_id = :id"

# what it was given before stays in its arguments; it waits no more for those that gave it
_HAND_OVER = (
    "INSERT INTO outsourced_queue_tasks (queue_id, task_id)"
    " SELECT queue_id, task_id FROM outsourced_jobs WHERE id = :id ON CONFLICT DO NOTHING",
    "UPDATE outsourced_edges SET passes = 0, position = -1 WHERE downstream_id = :id AND position >= 0",
    "INSERT INTO outsourced_edges (upstream_id, downstream_id, kind, passes, position, opens, closes)"
    " VALUES (:i_replaced_by, :id, 'replacement', 1, 0, 0, 0)",
)

_FORMAT = "%Y-%m-%d %H:%M:%S.%f"


class Syntax:
    """SQLite's spelling: values of a row and constants are both named parameters."""

    now = ":now"
    job_id = ":id"

    def after(self, seconds: str) -> str:
        return f"outsourced_later(:now, {seconds})"

    def given(self, name: str) -> str:
        return f":i_{name}"

    def constant(self, name: str) -> str:
        return f":{name}"


@cache
def all_moves() -> dict[str, Move]:
    return moves(Syntax())


def stored(moment: datetime) -> str:
    """The moment as SQLite stores it: UTC text that sorts."""
    return moment.astimezone(UTC).strftime(_FORMAT)


def parsed(text: str) -> datetime:
    """The moment that was stored."""
    return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)


def later(now: str, seconds: float) -> str:
    """The stored moment this many seconds after a stored moment."""
    return (
        datetime.strptime(now, _FORMAT)  # noqa: DTZ007 - stored moments are UTC
        + timedelta(seconds=seconds)
    ).strftime(_FORMAT)


def between(first: str, second: str) -> float:
    """Seconds from one stored moment to another."""
    parsed = (datetime.strptime(moment, _FORMAT) for moment in (second, first))  # noqa: DTZ007 - likewise
    return (next(parsed) - next(parsed)).total_seconds()


def add_functions(connection: sqlite3.Connection) -> None:
    """Teaches a connection the functions our statements use."""
    connection.create_function(
        "outsourced_later",
        2,
        lambda now, seconds: None if seconds is None else later(now, seconds),
        deterministic=True,
    )


def row_key(name: str) -> str:
    return name if name == "id" else f"i_{name}"


def move_job(batch: Batch, name: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    history, update = _statements(name)
    move = all_moves()[name]
    batch.execute(history, parameters)
    moved = list(batch.execute(update, parameters))
    if moved and move.stores_result and parameters["i_result"] is not None:
        batch.execute(_RESULT, parameters)
    if moved and move.stores_payload and parameters["i_payload"] and moved[0][1] == State.RETRYING:
        batch.execute(_PAYLOAD, parameters)
    if moved and move.hands_over and moved[0][1] == State.WAITING:
        for statement in _HAND_OVER:
            batch.execute(statement, parameters)
    return [
        (UUID(hex=job_id), *rest, None if lease_id is None else UUID(hex=lease_id))
        for job_id, *rest, lease_id in moved
    ]


@cache
def _statements(name: str) -> tuple[str, str]:
    """History first, from the old row, then the update: inside one transaction both see the same."""
    move = all_moves()[name]
    where = f"WHERE id = :id AND {source_condition(move)} AND {move.guard}"
    columns = move.columns(Syntax())
    history = (
        "INSERT INTO outsourced_history (job_id, seq, from_state, to_state, event, attempt, actor, lease_id,"
        f" at, reason, error) SELECT id, version + 1, state, {move.target}, {move.event_by(Syntax())},"
        f" {columns.get('attempt', 'attempt')}, :actor, {move.lease}, :now, {move.reason}, {move.error}"
        f" FROM outsourced_jobs {where}"
    )
    update = (
        f"UPDATE outsourced_jobs SET state = {move.target}"
        f"{''.join(f', {column} = {value}' for column, value in columns.items())}"
        f" {where} RETURNING id, state, queue_id, task_id, lease_id"
    )
    return history, update
