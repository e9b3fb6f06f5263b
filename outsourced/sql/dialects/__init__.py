"""What differs between the databases, and nothing else: one object a dialect.

`Dialect` is what the rest of `outsourced.sql` may ask of a database. Its SQL is text, not Core
expressions: the hot statements go through libpq's pipeline mode, which SQLAlchemy does not reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from outsourced.errors import ConfigurationError


class Rows(Protocol):
    """Rows of a statement: to be read once the batch it belongs to has ended."""

    def __iter__(self) -> Iterator[tuple[Any, ...]]: ...


@dataclass(frozen=True, slots=True)
class Moved:
    """Jobs that were moved, their repeats, and those that waited for them and were moved thereby.

    Each as (id, state, queue_id, task_id, lease_id).
    """

    jobs: Rows
    repeats: Rows = ()
    followers: Rows = ()

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return chain(self.jobs, self.repeats, self.followers)


class Batch(Protocol):
    """Statements of one transaction. On PostgreSQL they may travel together, in one round trip."""

    now: str
    """The SQL of the present moment."""

    def parameter(self, name: str) -> str:
        """How a statement of this dialect spells a named parameter."""

    def after(self, seconds: float) -> str:
        """The SQL of the moment this many seconds from now."""

    def execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Rows:
        """Runs, or queues, one statement of this dialect."""


class Dialect(Protocol):
    """What the rest of `outsourced.sql` asks of a database."""

    name: str
    has_one_writer: bool
    """Whether a transaction that writes makes all others that want to wait."""

    def begin(self, connection: Connection) -> None:
        """Begins a transaction that writes; on SQLite it waits its turn, fairly, for ten seconds."""

    def commit(self, connection: Connection) -> None: ...

    def rollback(self, connection: Connection) -> None: ...

    def batch(self, connection: Connection, offset: timedelta) -> Batch:
        """The batch of a transaction already begun: each statement runs at once."""

    def pipeline(self, engine: Engine, offset: timedelta) -> AbstractContextManager[Batch]:
        """A batch that is a transaction of its own: one round trip where the database can."""

    def savepoint(self, connection: Connection, offset: timedelta) -> AbstractContextManager[Batch]:
        """A part of a host's transaction, undone alone if the block fails; raises SQLAlchemy's errors."""

    def require_joinable(self, connection: Connection) -> None:
        """Raises ConfigurationError for a host's connection that `savepoint` cannot use."""

    def wrapped(self, error: BaseException) -> BaseException:
        """A driver's error as SQLAlchemy's, or as `Refused`; any other as it is."""

    def is_conflict(self, error: DBAPIError) -> bool:
        """Whether the transaction was ended by a deadlock or a serialization failure: run it again."""

    def read_clock(self, connection: Connection) -> datetime: ...

    def lock_worker(self, connection: Connection, worker_id: int) -> None:
        """Waits out the worker's running claims and holds off new ones until this transaction ends."""

    def lock_queue(self, connection: Connection, queue_id: int) -> None:
        """Waits out producers of this queue and holds off new ones until this transaction ends."""

    def require_worker(self, batch: Batch, worker_id: int, epoch: int) -> None:
        """Shares the worker's lock, then fails the batch with `Refused` unless it may act."""

    def lock_jobs(self, batch: Batch, job_ids: Sequence[UUID]) -> None:
        """Locks the jobs in the order of their ids, so that no two transactions wait for each other."""

    def claim(self, batch: Batch, parameters: Mapping[str, Any], *, limited: bool) -> Rows:
        """Leases up to `slots` jobs, none of those `said`, and keeps the answer for a replay.

        Jobs with a rate limit are passed over unless `limited`, which spends their permits. Gives rows as
        `exchange.lease_of` reads them.
        """

    def replay(self, batch: Batch, parameters: Mapping[str, Any]) -> Rows:
        """What the claim with this key was answered, as far as the leases are still good; likewise."""

    def require_room(self, batch: Batch, queue_id: int, *, bounded: bool, asked: int) -> None:
        """Passes the queue's gate, then fails the batch with `Refused` unless `asked` more jobs fit."""

    def has_room(self, batch: Batch, queue_id: int, *, bounded: bool, asked: int) -> bool:
        """Passes the gate likewise, and tells: for a batch whose statements run at once."""

    def require_owner_room(self, batch: Batch, owner_type: str, owner_id: str, *, room: int) -> None:
        """Passes the owner's gate, then fails the batch with `Refused` if over `room` of its jobs live."""

    def has_owner_room(self, batch: Batch, owner_type: str, owner_id: str, *, room: int) -> bool:
        """Passes the gate likewise, and tells: for a batch whose statements run at once."""

    def renew(self, batch: Batch, rows: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> Rows:
        """Extends the leases named by `rows` by their TTL; gives (lease_id,) of those that are still good."""

    def insert_jobs(self, batch: Batch, rows: Sequence[Mapping[str, Any]], actor: str) -> None:
        """Stores new jobs, unassigned, scheduled or waiting, with arguments and first history rows."""

    def insert_edges(self, batch: Batch, rows: Sequence[Mapping[str, Any]]) -> None:
        """Stores what the jobs just stored wait for."""

    def add_to_chord(self, batch: Batch, job_id: UUID, added: Sequence[UUID]) -> None:
        """Has the bodies that wait for this job wait for those too, just stored, and be given their results.

        Last in the list, in this order. Where no body waits, nothing happens.
        """

    def move(
        self, batch: Batch, move: str, rows: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
    ) -> Moved:
        """Moves the jobs named by `rows`.

        Repeats those that end by it and are to repeat, and lets those follow that waited for them.
        """

    def sweep(
        self, batch: Batch, move: str, condition: str, parameters: Mapping[str, Any], *, limit: int | None
    ) -> Moved:
        """Moves the jobs that `condition` picks, skipping those locked by others when limited; likewise."""


class Refused(Exception):
    """A guard statement found that the batch may not go on; nothing of it was committed."""


def dialect_for(name: str) -> Dialect:
    """The dialect of a SQLAlchemy backend name; raises ConfigurationError for one we do not speak.

    Imported only now: a deployment on SQLite has no PostgreSQL driver.
    """
    if name == "postgresql":
        from outsourced.sql.dialects.postgresql import PostgreSQL  # noqa: PLC0415

        return PostgreSQL()
    if name == "sqlite":
        from outsourced.sql.dialects.sqlite import SQLite  # noqa: PLC0415

        return SQLite()
    raise ConfigurationError(f"{name!r} is no database this version works on: use postgresql or sqlite")
