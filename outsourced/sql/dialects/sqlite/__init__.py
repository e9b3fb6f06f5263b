"""SQLite: one writer at a time under BEGIN IMMEDIATE, a row at a time inside it.

SQLite's own busy handler starves writers, so waiting for the turn is ours: a random 0.2–2 ms,
for ten seconds (docs/decisions/0003-sqlite.md).
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from outsourced.errors import ConfigurationError
from outsourced.sql.dialects import Batch, Moved, Refused
from outsourced.sql.dialects.sqlite import claim, enqueue, follow
from outsourced.sql.dialects.sqlite.batch import SQLiteBatch
from outsourced.sql.dialects.sqlite.moves import all_moves, move_job, row_key
from outsourced.sql.lifecycle import source_condition
from outsourced.states import TERMINAL

#: seconds a writer waits for its turn
PATIENCE = 10.0

_RENEW = """
UPDATE outsourced_jobs SET lease_until = :until
WHERE id = :id AND lease_id = :lease_id AND worker_id = :worker_id AND state IN ('assigned', 'working')
RETURNING lease_id
"""

# the outbox of callbacks: empty but for owners whose type has some
_ENDING = """
INSERT INTO outsourced_endings (job_id, owner_type, tries, due_at)
SELECT id, owner_type, 0, :now FROM outsourced_jobs
WHERE id IN (SELECT value FROM json_each(:ids))
  AND owner_type IN (SELECT owner_type FROM outsourced_listeners)
"""


class SQLite:
    """The embedded default: several processes of one machine."""

    name = "sqlite"
    has_one_writer = True

    def begin(self, connection: Connection) -> None:
        _begin_immediate(_driver(connection))

    def commit(self, connection: Connection) -> None:
        _driver(connection).execute("COMMIT")

    def rollback(self, connection: Connection) -> None:
        if _driver(connection).in_transaction:
            _driver(connection).execute("ROLLBACK")

    def batch(self, connection: Connection, offset: timedelta) -> SQLiteBatch:
        return SQLiteBatch(_driver(connection), offset)

    @contextmanager
    def pipeline(self, engine: Engine, offset: timedelta) -> Iterator[SQLiteBatch]:
        with engine.connect() as connection:
            driver = _driver(connection)
            try:
                _begin_immediate(driver)
                yield SQLiteBatch(driver, offset)
                driver.execute("COMMIT")
            except BaseException:
                if driver.in_transaction:
                    driver.execute("ROLLBACK")
                raise

    @contextmanager
    def savepoint(self, connection: Connection, offset: timedelta) -> Iterator[SQLiteBatch]:
        driver = _driver(connection)
        if not driver.in_transaction:
            # Python's driver begins only with the first write: the savepoint would be the transaction
            driver.execute("BEGIN")
        try:
            driver.execute("SAVEPOINT outsourced")
            try:
                yield SQLiteBatch(driver, offset)
            except BaseException:
                if driver.in_transaction:
                    driver.execute("ROLLBACK TO outsourced")
                    driver.execute("RELEASE outsourced")
                raise
            driver.execute("RELEASE outsourced")
        except sqlite3.Error as error:
            raise self.wrapped(error) from error

    def require_joinable(self, connection: Connection) -> None:
        if not isinstance(_driver(connection), sqlite3.Connection):
            raise ConfigurationError("on SQLite, session= needs Python's own driver (pysqlite)")

    def wrapped(self, error: BaseException) -> BaseException:
        if isinstance(error, sqlite3.Error):
            return DBAPIError.instance(None, None, error, sqlite3.Error)
        return error

    def is_conflict(self, error: DBAPIError) -> bool:
        return False  # BEGIN IMMEDIATE waits its turn: nothing is ever ended by another writer

    def read_clock(self, connection: Connection) -> datetime:
        return datetime.now(UTC)

    def lock_worker(self, connection: Connection, worker_id: int) -> None:
        """Nothing to do: BEGIN IMMEDIATE has ended every other writer's transaction."""

    def lock_queue(self, connection: Connection, queue_id: int) -> None:
        """Nothing to do, likewise."""

    def require_worker(self, batch: Batch, worker_id: int, epoch: int) -> None:
        rows = batch.execute(
            "SELECT 1 FROM outsourced_accounts WHERE id = :worker_id AND state = 'active' AND epoch = :epoch",
            {"worker_id": worker_id, "epoch": epoch},
        )
        if not list(rows):
            raise Refused

    def lock_jobs(self, batch: Batch, job_ids: Sequence[UUID]) -> None:
        """Nothing to do, likewise."""

    def claim(self, batch: Any, parameters: Mapping[str, Any], *, limited: bool) -> list[tuple[Any, ...]]:
        return claim.claim(batch, parameters, limited=limited)

    def replay(self, batch: Any, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return claim.replay(batch, parameters)

    def renew(
        self, batch: Any, rows: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        renewed = [
            found
            for row in rows
            for found in batch.execute(_RENEW, {**parameters, **row, "until": batch.later(parameters["ttl"])})
        ]
        return [(UUID(hex=lease_id),) for (lease_id,) in renewed]

    def require_room(self, batch: Any, queue_id: int, *, bounded: bool, asked: int) -> None:
        if not self.has_room(batch, queue_id, bounded=bounded, asked=asked):
            raise Refused

    def has_room(self, batch: Any, queue_id: int, *, bounded: bool, asked: int) -> bool:
        return enqueue.has_room(batch, queue_id, bounded=bounded, asked=asked)

    def require_owner_room(self, batch: Any, owner_type: str, owner_id: str, *, room: int) -> None:
        if not self.has_owner_room(batch, owner_type, owner_id, room=room):
            raise Refused

    def has_owner_room(self, batch: Any, owner_type: str, owner_id: str, *, room: int) -> bool:
        return enqueue.live_jobs_of(batch, owner_type, owner_id) <= room

    def insert_jobs(self, batch: Any, rows: Sequence[Mapping[str, Any]], actor: str) -> None:
        enqueue.insert_jobs(batch, rows, actor)

    def insert_edges(self, batch: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        follow.insert_edges(batch, rows)

    def add_to_chord(self, batch: Any, job_id: UUID, added: Sequence[UUID]) -> None:
        follow.add_to_chord(batch, job_id, added)

    def move(
        self, batch: Batch, move: str, rows: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
    ) -> Moved:
        moved: list[tuple[Any, ...]] = []
        for row in rows:
            moved += move_job(
                batch, move, {**parameters, **{row_key(name): value for name, value in row.items()}}
            )
        # a replacement may have ended already
        replacements = (
            [row["replaced_by"] for row in rows if row["replaced_by"]] if all_moves()[move].hands_over else []
        )
        return _ended(batch, move, moved, parameters, before=replacements)

    def sweep(
        self,
        batch: Batch,
        move: str,
        condition: str,
        parameters: Mapping[str, Any],
        *,
        limit: int | None = None,
    ) -> Moved:
        of = all_moves()[move]
        picked = batch.execute(
            f"SELECT id FROM outsourced_jobs WHERE {source_condition(of)} AND {of.guard}"
            f" AND ({condition.replace('{now}', ':now')}) LIMIT {-1 if limit is None else limit}",
            parameters,
        )
        moved = [row for (job_id,) in picked for row in move_job(batch, move, {**parameters, "id": job_id})]
        return _ended(batch, move, moved, parameters)


def _ended(
    batch: Any,
    move: str,
    moved: list[tuple[Any, ...]],
    parameters: Mapping[str, Any],
    *,
    before: Sequence[UUID] = (),
) -> Moved:
    """The jobs moved; those that this move has ended are noted for callbacks, repeated, and followed.

    Followed are also those that may have ended `before`.
    """
    ended = [row[0] for row in moved if row[1] in TERMINAL] if all_moves()[move].ends else []
    if not ended and not before:
        return Moved(moved)
    actor = parameters["actor"]
    repeats = enqueue.repeat_jobs(batch, ended, actor) if all_moves()[move].repeats else ()
    followers = follow.follow(batch, [*ended, *before], actor)
    ended += [row[0] for row in followers if row[1] in TERMINAL]
    batch.execute(_ENDING, {"ids": orjson.dumps([job_id.hex for job_id in ended]).decode()})
    return Moved(moved, repeats, followers)


def _driver(connection: Connection) -> sqlite3.Connection:
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    return driver


def _begin_immediate(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + PATIENCE
    connection.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(0.0002, 0.002))
    finally:
        connection.execute("PRAGMA busy_timeout=10000")
