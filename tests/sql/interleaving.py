"""Bringing about an order of events between transactions, instead of hoping for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from sqlalchemy import text

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
