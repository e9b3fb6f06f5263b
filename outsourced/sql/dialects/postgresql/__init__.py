"""PostgreSQL: set-based moves, one round trip a transaction by libpq's pipeline mode (psycopg 3).

Measured traps this module avoids (docs/decisions/0002-postgresql.md): a guard lock in the statement
that reads sees an older snapshot; `jit` and sort-free plans must be set per transaction; a COMMIT
outside the pipeline costs a second synchronisation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from outsourced.errors import ConfigurationError
from outsourced.sql.dialects import Batch, Moved, Refused, Rows
from outsourced.sql.dialects.postgresql.claim import claim_statement, replay_statement
from outsourced.sql.dialects.postgresql.enqueue import (
    GATE,
    edges_statement,
    insert_statement,
    owner_gate,
    owner_room_statement,
    repeat_statement,
    room_statement,
)
from outsourced.sql.dialects.postgresql.follow import ADD_TO_CHORD, LOCK_BODIES, follow_statement
from outsourced.sql.dialects.postgresql.moves import (
    as_json,
    clock,
    move_statement,
    moves_at,
    recordset,
    sweep_statement,
)
from outsourced.states import REPEATABLE, TERMINAL

#: classes of our advisory locks: the first key of pg_advisory_xact_lock(int, int)
WORKER_LOCKS, QUEUE_LOCKS, OWNER_LOCKS = 0x0D5_0001, 0x0D5_0002, 0x0D5_0003

#: one statement for all: `jit` decides over 0.3 or 20 ms, the others keep the plan on stale statistics
SETTINGS = (
    "SELECT set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true),"
    " set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true),"
    " set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)"
)

# by id and state: naming lease_until in the guard would tempt the planner to jobs_leased
RENEW = """
UPDATE outsourced_jobs j SET lease_until = {now} + make_interval(secs => %(ttl)s::float8)
FROM {rows}
WHERE j.id = i.id AND j.lease_id = i.lease_id AND j.worker_id = %(worker_id)s
  AND j.state IN ('assigned', 'working')
RETURNING j.lease_id
"""

#: how long a producer waits at the gate of a bounded queue before it is told to try again
GATE_TIMEOUT = "set_config('lock_timeout', '2s', true)"

#: drivers that spell parameters as we do
_PYFORMAT_DRIVERS = ("psycopg", "psycopg2")

_CONFLICTS = ("40001", "40P01")


class PipelineRows:
    """A cursor's rows, fetched when first read: not before its pipeline has ended, but for `wait`."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._rows: list[tuple[Any, ...]] | None = None

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if self._rows is None:
            self._rows = self._cursor.fetchall() if self._cursor.description else []
        return iter(self._rows)

    def wait(self) -> PipelineRows:
        """Reads the rows of a statement that gives some, at the cost of a round trip."""
        self._rows = self._cursor.fetchall()
        return self


class _Spelling:
    """How statements of both batches are spelled."""

    def __init__(self, offset: timedelta) -> None:
        self.now = clock(offset)

    def parameter(self, name: str) -> str:
        return f"%({name})s"

    def after(self, seconds: float) -> str:
        return f"({self.now} + make_interval(secs => {seconds!r}))"


class PostgreSQLBatch(_Spelling):
    """Statements on one psycopg connection, inside or outside of a pipeline."""

    def __init__(self, connection: Any, offset: timedelta) -> None:
        super().__init__(offset)
        self._connection = connection
        self._keeps_plans = False

    def keep_plans(self) -> None:
        """Has the planner go by our indexes in this transaction, whatever it believes of the tables."""
        if not self._keeps_plans:
            self._keeps_plans = True
            self.execute(SETTINGS)

    def execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Rows:
        return PipelineRows(self._connection.execute(statement, parameters))


class JoinedBatch(_Spelling):
    """Statements on a host's connection, in its transaction: each runs at once."""

    def __init__(self, connection: Connection, offset: timedelta) -> None:
        super().__init__(offset)
        self._connection = connection

    def execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Rows:
        result = self._connection.exec_driver_sql(statement, dict(parameters or {}))
        return [tuple(row) for row in result] if result.returns_rows else []


class PostgreSQL:
    """The production database."""

    name = "postgresql"
    has_one_writer = False

    def begin(self, connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    def commit(self, connection: Connection) -> None:
        connection.exec_driver_sql("COMMIT")

    def rollback(self, connection: Connection) -> None:
        _end_failed(connection, _driver(connection))

    def batch(self, connection: Connection, offset: timedelta) -> Batch:
        return PostgreSQLBatch(_driver(connection), offset)

    @contextmanager
    def pipeline(self, engine: Engine, offset: timedelta) -> Iterator[Batch]:
        with engine.connect() as connection:
            driver = _driver(connection)
            first: psycopg.Error | None = None
            try:
                with driver.pipeline():
                    try:
                        driver.execute("BEGIN")
                        yield PostgreSQLBatch(driver, offset)
                        driver.execute("COMMIT")
                    except psycopg.Error as error:
                        # an answer that came early: leave the pipeline in order, else psycopg logs another
                        first = error
                if first is not None:
                    raise first  # the pipeline ended in order, but nothing of it was committed
            except BaseException as error:  # noqa: BLE001 - raised again
                _end_failed(connection, driver)
                raise first or error from None

    @contextmanager
    def savepoint(self, connection: Connection, offset: timedelta) -> Iterator[Batch]:
        connection.exec_driver_sql("SAVEPOINT outsourced")
        try:
            yield JoinedBatch(connection, offset)
        except BaseException:
            if not connection.invalidated:
                connection.exec_driver_sql("ROLLBACK TO SAVEPOINT outsourced")
            raise
        connection.exec_driver_sql("RELEASE SAVEPOINT outsourced")

    def require_joinable(self, connection: Connection) -> None:
        if connection.dialect.driver not in _PYFORMAT_DRIVERS:
            raise ConfigurationError(
                f"session= needs the driver psycopg or psycopg2, not {connection.dialect.driver}"
            )
        isolation = connection.exec_driver_sql("SELECT current_setting('transaction_isolation')").scalar()
        if isolation != "read committed":
            # the count behind a gate must see what the last producer has just committed
            raise ConfigurationError(f"session= needs the isolation level READ COMMITTED, not {isolation}")

    def wrapped(self, error: BaseException) -> BaseException:
        if isinstance(error, psycopg.errors.DivisionByZero):
            return Refused()
        if isinstance(error, psycopg.Error):
            return DBAPIError.instance(None, None, error, psycopg.Error)
        return error

    def is_conflict(self, error: DBAPIError) -> bool:
        return getattr(error.orig, "sqlstate", None) in _CONFLICTS

    def read_clock(self, connection: Connection) -> datetime:
        moment: datetime = connection.scalar(sqlalchemy.text("SELECT clock_timestamp()"))
        return moment

    def lock_worker(self, connection: Connection, worker_id: int) -> None:
        _lock(connection, WORKER_LOCKS, worker_id)

    def lock_queue(self, connection: Connection, queue_id: int) -> None:
        _lock(connection, QUEUE_LOCKS, queue_id)

    def require_worker(self, batch: Batch, worker_id: int, epoch: int) -> None:
        _keep_plans(batch)
        # a statement of its own: the next one's snapshot is younger than the lock
        batch.execute(
            f"SELECT pg_advisory_xact_lock_shared({WORKER_LOCKS}, %(worker_id)s)", {"worker_id": worker_id}
        )
        # no row: division by zero, and nothing of the pipeline is committed
        batch.execute(
            "SELECT 1 / count(*) FROM outsourced_accounts"
            " WHERE id = %(worker_id)s AND state = 'active' AND epoch = %(epoch)s",
            {"worker_id": worker_id, "epoch": epoch},
        )

    def lock_jobs(self, batch: Batch, job_ids: Sequence[UUID]) -> None:
        batch.execute(
            "SELECT id FROM outsourced_jobs WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR NO KEY UPDATE",
            {"ids": _array(job_ids)},
        )

    def claim(self, batch: Batch, parameters: Mapping[str, Any], *, limited: bool) -> Rows:
        said = {"said": _array(parameters["said"])}
        return batch.execute(claim_statement(batch.now, limited=limited), {**parameters, **said})

    def replay(self, batch: Batch, parameters: Mapping[str, Any]) -> Rows:
        return batch.execute(replay_statement(batch.now), parameters)

    def require_room(self, batch: Batch, queue_id: int, *, bounded: bool, asked: int) -> None:
        if bounded:
            _keep_plans(batch)
        _pass_gate(batch, queue_id, bounded=bounded)
        batch.execute(room_statement(bounded=bounded, requires=True), {"queue_id": queue_id, "asked": asked})

    def has_room(self, batch: Batch, queue_id: int, *, bounded: bool, asked: int) -> bool:
        with _own_timeout_kept(batch):
            _pass_gate(batch, queue_id, bounded=bounded)
        room = room_statement(bounded=bounded, requires=False)
        return bool(list(batch.execute(room, {"queue_id": queue_id, "asked": asked})))

    def require_owner_room(self, batch: Batch, owner_type: str, owner_id: str, *, room: int) -> None:
        owner = {"type": owner_type, "id": owner_id, "room": room}
        _keep_plans(batch)
        batch.execute(owner_gate(OWNER_LOCKS, GATE_TIMEOUT), owner)
        batch.execute(owner_room_statement(requires=True), owner)

    def has_owner_room(self, batch: Batch, owner_type: str, owner_id: str, *, room: int) -> bool:
        owner = {"type": owner_type, "id": owner_id, "room": room}
        with _own_timeout_kept(batch):
            batch.execute(owner_gate(OWNER_LOCKS, GATE_TIMEOUT), owner)
        return bool(list(batch.execute(owner_room_statement(requires=False), owner)))

    def renew(self, batch: Batch, rows: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> Rows:
        statement = RENEW.format(now=batch.now, rows=recordset({"id": "uuid", "lease_id": "uuid"}))
        return batch.execute(statement, {"rows": as_json(rows), **parameters})

    def insert_jobs(self, batch: Batch, rows: Sequence[Mapping[str, Any]], actor: str) -> None:
        batch.execute(insert_statement(batch.now), {"rows": as_json(rows), "actor": actor})

    def insert_edges(self, batch: Batch, rows: Sequence[Mapping[str, Any]]) -> None:
        batch.execute(edges_statement(), {"rows": as_json(rows)})

    def add_to_chord(self, batch: Batch, job_id: UUID, added: Sequence[UUID]) -> None:
        batch.execute(LOCK_BODIES, {"parent_id": job_id})
        for one in added:
            batch.execute(ADD_TO_CHORD, {"parent_id": job_id, "id": one})

    def move(
        self, batch: Batch, move: str, rows: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
    ) -> Moved:
        moved = batch.execute(move_statement(batch.now, move), {"rows": as_json(rows), **parameters})
        of = moves_at(batch.now)[move]
        if not of.ends:
            return Moved(moved)
        ids, actor = [row["id"] for row in rows], parameters["actor"]
        after = {"ids": _array(ids), "actor": actor}
        repeats = batch.execute(repeat_statement(batch.now), after) if of.repeats else ()
        if of.hands_over:  # to those that may have ended already
            after["ids"] = _array(ids + [row["replaced_by"] for row in rows if row["replaced_by"]])
        return Moved(moved, repeats, batch.execute(follow_statement(batch.now), after))

    def sweep(
        self,
        batch: Batch,
        move: str,
        condition: str,
        parameters: Mapping[str, Any],
        *,
        limit: int | None = None,
    ) -> Moved:
        _keep_plans(batch)
        moved = batch.execute(sweep_statement(batch.now, move, condition, limit), parameters)
        if not moves_at(batch.now)[move].ends:
            return Moved(moved)
        assert isinstance(moved, PipelineRows)
        ended = {row[0]: row[1] for row in moved.wait() if row[1] in TERMINAL}
        if not ended:
            return Moved(moved)
        after = {"ids": _array(list(ended)), "actor": parameters["actor"]}
        repeat = not REPEATABLE.isdisjoint(ended.values())
        repeats = batch.execute(repeat_statement(batch.now), after) if repeat else ()
        return Moved(moved, repeats, batch.execute(follow_statement(batch.now), after))


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _end_failed(connection: Connection, driver: Any) -> None:
    """Rolls back; a connection that is broken is given up instead of returned to the pool."""
    if driver.closed or driver.broken:
        connection.invalidate()
    else:
        driver.rollback()


def _array(ids: Sequence[UUID]) -> str:
    return f"{{{','.join(one.hex for one in ids)}}}"


def _keep_plans(batch: Batch) -> None:
    """On a host's connection nothing: its transaction is its own."""
    if isinstance(batch, PostgreSQLBatch):
        batch.keep_plans()


def _pass_gate(batch: Batch, queue_id: int, *, bounded: bool) -> None:
    gate = GATE.format(timeout=GATE_TIMEOUT, shared="" if bounded else "_shared", kind=QUEUE_LOCKS)
    batch.execute(gate, {"queue_id": queue_id})


@contextmanager
def _own_timeout_kept(batch: Batch) -> Iterator[None]:
    """The host's own `lock_timeout` is as before after the block."""
    ((waits,),) = batch.execute("SELECT current_setting('lock_timeout')")
    yield
    batch.execute("SELECT set_config('lock_timeout', %(waits)s, true)", {"waits": waits})


def _lock(connection: Connection, kind: int, key: int) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({kind}, %(key)s)", {"key": key})
