"""The batch of SQLite: every statement runs at once, inside BEGIN IMMEDIATE."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from outsourced.sql.dialects.sqlite.moves import add_functions, later, stored


class SQLiteBatch:
    """Statements of the transaction under way, each run at once.

    Its moment is read once, under the write lock: history in commit order never goes back in time
    unless the machine's clock does.
    """

    now = ":now"

    def __init__(self, connection: sqlite3.Connection, offset: timedelta) -> None:
        add_functions(connection)
        self._connection = connection
        self.moment = stored(datetime.now(UTC) + offset)

    def parameter(self, name: str) -> str:
        return f":{name}"

    def execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, self.bound(parameters or {})).fetchall()

    def execute_named(
        self, statement: str, parameters: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """As `execute`, each row a dictionary of its columns."""
        cursor = self._connection.execute(statement, self.bound(parameters or {}))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def execute_many(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._connection.executemany(statement, [self.bound(row) for row in rows])

    def after(self, seconds: float) -> str:
        return f"outsourced_later(:now, {seconds!r})"

    def later(self, seconds: float) -> str:
        """The moment this many seconds from now, as stored."""
        return later(self.moment, seconds)

    def bound(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        values = {name: _bound(value) for name, value in parameters.items()}
        values["now"] = self.moment
        return values


def _bound(value: Any) -> Any:
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return stored(value)
    return value
