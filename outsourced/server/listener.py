"""Hearing what other processes committed, on behalf of the polls parked in this one.

One thread a process. On PostgreSQL it listens for notifications, on SQLite it watches the file's
version; on both it also looks for itself once a second, for the word that got lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

from sqlalchemy.pool import StaticPool

from outsourced.records import Changes
from outsourced.server import announcer
from outsourced.server.ending import is_ending
from outsourced.server.service import RETRY_TO, Service
from outsourced.sql import readiness
from outsourced.sql.database import Database

log = logging.getLogger(__name__)

#: seconds between two looks of our own
LOOK_EVERY = 1.0
#: where jobs wait for a rate limit, at least
LOOK_AT_MOST_EVERY = 0.005
#: seconds between two reads of a SQLite file's version
VERSION_EVERY = 0.05
#: seconds for which a call to end may go unheard
DEAF_FOR = 0.5
#: seconds to wait after an error: first, at most
RETRY_FROM = 0.5


class Hearers(Protocol):
    """Those on whose behalf it listens."""

    @property
    def parked(self) -> int: ...

    def wake(self, changes: Changes) -> None: ...

    def wake_all(self) -> None: ...

    def release(self) -> None: ...


class Listener(Service):
    """Wakes parked polls for what other processes did. Starts with the first of them."""

    def __init__(self, database: Database, hearers: Hearers) -> None:
        super().__init__("listener", timedelta(seconds=LOOK_EVERY))
        self._database, self._hearers = database, hearers
        self._word: tuple[int, int] | None = None
        self._look_in = LOOK_EVERY

    def tick(self) -> None:
        """Looks once: wakes as many waiters as jobs may be claimed, and all if there is word for workers."""
        self._look_in = LOOK_EVERY
        parked = self._hearers.parked
        if not parked:
            return
        with self._database.connect() as connection:
            found = readiness.claimable(connection, lambda: self._database.now(connection), counted=parked)
            word = readiness.word(connection)
        if found.opens_in is not None:
            # for permits nobody gives word
            self._look_in = min(LOOK_EVERY, max(LOOK_AT_MOST_EVERY, found.opens_in))
        if word != self._word:
            self._word = word
            self._hearers.wake_all()
        elif found.ready:
            self._hearers.wake(Changes(ready=found.ready))

    def _loop(self, ending: threading.Event) -> None:
        pause = RETRY_FROM
        while not ending.is_set():
            try:
                with self._ear() as ear:
                    self._word = None  # unknown: much may have been said while nobody listened
                    self.tick()
                    while not ending.is_set():
                        self._hear(ear)
                        pause = RETRY_FROM
            except Exception as error:  # noqa: BLE001 - a service loop survives whatever the driver raises
                log.warning("not hearing of other processes' jobs, next try in %.1f s: %s", pause, error)
                ending.wait(pause)
                pause = min(RETRY_TO, pause * 2)

    def _hear(self, ear: Ear) -> None:
        """Listens for as long as one look may wait, then looks."""
        until = time.monotonic() + self._look_in
        while (left := until - time.monotonic()) > 0 and not self._ending.is_set():
            changes = ear.listen(min(left, DEAF_FOR))
            if is_ending():
                self._hearers.release()
            if changes is None:
                self.tick()
            else:
                self._hearers.wake(changes)
        self.tick()

    @contextmanager
    def _ear(self) -> Iterator[Ear]:
        if isinstance(self._database.engine.pool, StaticPool):
            yield DeafEar(self._ending)
            return
        # a connection of its own, for as long as it listens: out of the pool, or it would use it up
        pooled = self._database.engine.raw_connection()
        pooled.detach()
        try:
            if self._database.dialect.name == "postgresql":
                yield PostgresEar(pooled.dbapi_connection)
            else:
                yield SqliteEar(pooled.dbapi_connection, self._ending)
        finally:
            pooled.close()


class Ear(Protocol):
    """One way to hear of other processes."""

    def listen(self, timeout: float) -> Changes | None:
        """What changed within `timeout` seconds, perhaps nothing; None: something did, look what."""


class PostgresEar:
    """LISTEN, on a connection in autocommit."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        connection.autocommit = True
        connection.execute(f"LISTEN {announcer.CHANNEL}")

    def listen(self, timeout: float) -> Changes | None:
        for notice in self._connection.notifies(timeout=timeout, stop_after=1):
            return announcer.load(notice.payload)
        return Changes()


class SqliteEar:
    """`PRAGMA data_version`, which changes when any other connection commits: ours in this process too."""

    def __init__(self, connection: Any, ending: threading.Event) -> None:
        self._connection, self._ending = connection, ending
        self._version = self._read()

    def _read(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def listen(self, timeout: float) -> Changes | None:
        self._ending.wait(min(timeout, VERSION_EVERY))
        before, self._version = self._version, self._read()
        return Changes() if before == self._version else None


class DeafEar:
    """An in-memory database: no other process has it."""

    def __init__(self, ending: threading.Event) -> None:
        self._ending = ending

    def listen(self, timeout: float) -> Changes | None:
        self._ending.wait(timeout)
        return Changes()
