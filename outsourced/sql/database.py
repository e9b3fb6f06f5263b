"""The connection to the database: our own engine and small pool, transactions, and their retries.

Nothing of the host's engine is changed: our settings (BEGIN IMMEDIATE, WAL, `synchronous=FULL`)
go to our connections only. An in-memory SQLite database has one connection, so there the host's
engine is shared.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import StaticPool

from outsourced.errors import BackendUnavailable, ConfigurationError, MissingExtra, SchemaOutdated
from outsourced.sql.dialects import Batch, Dialect, dialect_for

T = TypeVar("T")

#: tries of a transaction that the database ended by deadlock or serialization failure
MAX_TRIES = 4
#: connections of our own pool, above it in a rush, and the wait for one in seconds
POOL = {"pool_size": 5, "max_overflow": 10, "pool_timeout": 10}

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA cache_size=-65536",
    "PRAGMA mmap_size=268435456",
    "PRAGMA busy_timeout=10000",
    "PRAGMA foreign_keys=ON",
)


class Database:
    """Where the jobs are. One a Flask app; safe to share between threads.

    `before_write` is called before each transaction and may refuse it by raising. With a shared
    engine, `lend` gives the connection of a transaction of the host's that is under way here.
    """

    def __init__(
        self,
        url: str,
        *,
        shared_engine: Engine | None = None,
        before_write: Callable[[], None] = lambda: None,
        lend: Callable[[], Connection | None] = lambda: None,
    ) -> None:
        self._before_write = before_write
        self._lend = lend
        self.engine = _engine(url) if shared_engine is None else shared_engine
        self.dialect: Dialect = dialect_for(self.engine.dialect.name)
        self.shares_engine = shared_engine is not None
        #: tests move the database's clock by this
        self.clock_offset = timedelta()
        # an in-memory database is one connection: its transactions take turns
        single = isinstance(self.engine.pool, StaticPool)
        self._turn: Any = threading.RLock() if single else nullcontext()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection on which each statement stands alone: for reads."""
        try:
            with self._turn, self._connection() as connection:
                yield connection
        except (DBAPIError, PoolTimeout) as error:
            raise translated(error) from error

    def _connection(self) -> AbstractContextManager[Connection]:
        # a connection that is returned is rolled back: where there is but one, with the host's work on it
        lent = self._lend()
        return self.engine.connect() if lent is None else nullcontext(lent)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in one transaction, again if the database ended it by deadlock.

        `work` must have no effects outside the database. An error it raises rolls all back.
        """

        def once() -> T:
            with self.engine.connect() as connection:
                self.dialect.begin(connection)
                try:
                    value = work(connection)
                    self.dialect.commit(connection)
                except BaseException:
                    self.dialect.rollback(connection)
                    raise
                return value

        return self._tried(once)

    def run(self, work: Callable[[Batch], T]) -> T:
        """Runs `work` as one pipelined transaction, again likewise; its `Rows` may be read afterwards.

        Raises `Refused` when one of its guards said no: then nothing was committed.
        """

        def once() -> T:
            with self.dialect.pipeline(self.engine, self.clock_offset) as batch:
                return work(batch)

        return self._tried(once)

    def _tried(self, once: Callable[[], T]) -> T:
        self._before_write()
        tries = 0
        while True:
            tries += 1
            try:
                with self._turn:
                    return once()
            except Exception as raised:
                error = self.dialect.wrapped(raised)
                if isinstance(error, DBAPIError) and self.dialect.is_conflict(error) and tries < MAX_TRIES:
                    time.sleep(random.uniform(0.001, 0.02) * tries)
                    continue
                if isinstance(error, (DBAPIError, PoolTimeout)):
                    raise translated(error) from raised
                if error is raised:
                    raise
                raise error from raised

    def batch(self, connection: Connection) -> Batch:
        """The batch of a transaction of `write`: each statement runs at once."""
        return self.dialect.batch(connection, self.clock_offset)

    def now(self, connection: Connection) -> datetime:
        """The database's present moment."""
        return self.dialect.read_clock(connection) + self.clock_offset

    def dispose(self) -> None:
        """Closes our pool; a host's engine is left alone."""
        if not self.shares_engine:
            self.engine.dispose()


def translated(error: DBAPIError | PoolTimeout) -> Exception:
    """The error as one of ours where that tells the caller more, else as it is."""
    if isinstance(error, PoolTimeout):
        return BackendUnavailable("all database connections are in use: try again")
    if isinstance(error, (OperationalError, ProgrammingError)) and _names_missing_table(error):
        return SchemaOutdated(
            "the tables are missing or older than this version: run `flask outsourcer init`"
        )
    if isinstance(error.orig, sqlite3.OperationalError) and "locked" in str(error.orig):
        return BackendUnavailable(
            "another transaction has been writing to this SQLite file for too long, and SQLite lets one "
            "write at a time: commit or end it, and try again"
        )
    if isinstance(error, (OperationalError, InterfaceError)):
        return BackendUnavailable(f"the database cannot be reached or is busy: {error.orig}")
    return error


def _names_missing_table(error: DBAPIError) -> bool:
    message = str(error.orig)
    signs = ("no such table", "does not exist", "no such column", "has no column")
    return "outsourced_" in message and any(sign in message for sign in signs)


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        return _ENGINES[parsed.get_backend_name()](parsed)
    except KeyError:
        raise ConfigurationError(
            f"OUTSOURCED_DATABASE_URL names {parsed.get_backend_name()!r}: use postgresql or sqlite"
        ) from None
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name} is not installed: pip install 'outsourced[postgres]'") from error


def _postgresql_engine(url: URL) -> Engine:
    return create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT", **POOL)


def _sqlite_engine(url: URL) -> Engine:
    connect_args = {"check_same_thread": False, "isolation_level": None}
    if url.database in (None, "", ":memory:"):
        engine = create_engine(url, connect_args=connect_args, poolclass=StaticPool)
    else:
        engine = create_engine(url, connect_args=connect_args, **POOL)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: Any) -> None:
        for pragma in _SQLITE_PRAGMAS:
            connection.execute(pragma)

    return engine


_ENGINES: dict[str, Callable[[URL], Engine]] = {"postgresql": _postgresql_engine, "sqlite": _sqlite_engine}
