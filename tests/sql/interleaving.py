"""Bringing about an order of events between transactions, instead of hoping for it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import psycopg
from sqlalchemy import Engine, event, text

from outsourced.sql.database import Database

T = TypeVar("T")

#: seconds after which something has failed to happen
PATIENCE = 30.0


class Aside(Generic[T]):
    """A call on a thread of its own; what it gave or raised is had by `result`."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._given: list[T] = []
        self._raised: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def is_done(self) -> bool:
        return not self.thread.is_alive()

    def result(self) -> T:
        self.thread.join(PATIENCE)
        assert self.is_done, "the call has not returned"
        if self._raised is not None:
            raise self._raised
        return self._given[0]

    def _run(self) -> None:
        try:
            self._given.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            self._raised = error


def until(condition: Callable[[], bool]) -> None:
    """Returns as soon as the condition holds; fails after PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


_WAITING = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def waiting(database: Database) -> list[int]:
    """The connections of this PostgreSQL database that wait for a lock."""
    with database.connect() as connection:
        return list(connection.scalars(text(_WAITING)))


@contextmanager
def holding(
    database: Database, statement: str, parameters: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Somebody else's transaction, open inside the block, that has run the statement; then rolled back."""
    with database.engine.connect() as connection:
        database.dialect.begin(connection)
        try:
            connection.execute(text(statement), parameters or {})
            yield
        finally:
            database.dialect.rollback(connection)


@contextmanager
def traced(engine: Engine, heard: Callable[[str], None]) -> Iterator[None]:
    """Tells of each statement of the engine just before it runs, on the thread that runs it."""
    listen = _hear_sqlite if engine.dialect.name == "sqlite" else _hear_postgresql

    def connected(connection: Any, record: object) -> None:
        listen(connection, heard)

    event.listen(engine, "connect", connected)
    engine.dispose()  # connections made before tell nothing
    try:
        yield
    finally:
        event.remove(engine, "connect", connected)
        engine.dispose()


def _hear_sqlite(connection: sqlite3.Connection, heard: Callable[[str], None]) -> None:
    connection.set_trace_callback(heard)


def _hear_postgresql(connection: psycopg.Connection[Any], heard: Callable[[str], None]) -> None:
    class Cursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            heard(str(query))
            return super().execute(query, *args, **kwargs)

        def executemany(self, query: Any, *args: Any, **kwargs: Any) -> None:
            heard(str(query))
            super().executemany(query, *args, **kwargs)

    connection.cursor_factory = Cursor
