"""Telling the other processes what this one committed: PostgreSQL's NOTIFY, sparingly.

NOTIFY inside the transactions of jobs would make their commits wait for each other; here it is a
statement of its own after the commit, at most one in `PAUSE` for the same queue and task.
On SQLite nothing is sent: there the others see that the file changed.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from uuid import uuid4

import orjson
from sqlalchemy import text

from outsourced.errors import OutsourcedError
from outsourced.records import Changes
from outsourced.sql.database import Database

log = logging.getLogger(__name__)

#: NOTIFY reaches one database, and a database holds one installation
CHANNEL = "outsourced"
#: seconds between two announcements of the same thing
PAUSE = 0.02
#: bytes of a notification, by PostgreSQL's limit of 8,000
MAX_PAYLOAD = 7_900

#: what is announced: (queue, task), or (worker,)
Subject = tuple[str, ...]


class Announcer:
    """Announces changes: the first of a kind at once, those that follow within a moment together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sends = database.dialect.name == "postgresql"
        self._lock = threading.Lock()
        self._sent_at: dict[Subject, float] = {}
        self._pending: dict[Subject, int] = {}
        self._timer: threading.Timer | None = None  #: until it sends
        self._senders: list[threading.Timer] = []  #: those that may still be sending

    def announce(self, changes: Changes) -> None:
        """Sends what has not been sent just now, and leaves the rest for a moment later.

        Never raises: what it tells of is committed, and the others look for themselves once a second.
        """
        if not self._sends:
            return
        news: dict[Subject, int] = dict(changes.ready.items())
        news.update(((worker,), 1) for worker in changes.workers)
        with self._lock:
            now = time.monotonic()
            fresh = {
                subject: n for subject, n in news.items() if now - self._sent_at.get(subject, 0.0) >= PAUSE
            }
            for subject in news.keys() - fresh.keys():
                self._pending[subject] = self._pending.get(subject, 0) + news[subject]
            if self._pending and not (self._timer is not None and self._timer.is_alive()):
                self._set_timer()  # a fork leaves the timer behind, but not its thread
            self._mark_sent(fresh, now)
        self._send(fresh)

    def _set_timer(self) -> None:
        # not a daemon: a script that ends right after its last delay() still sends this
        self._timer = threading.Timer(PAUSE, self._flush)
        self._timer.start()
        self._senders = [*(sender for sender in self._senders if sender.is_alive()), self._timer]

    def _flush(self) -> None:
        with self._lock:
            self._timer = None
            due, self._pending = self._pending, {}
            self._mark_sent(due, time.monotonic())
        self._send(due)

    def _mark_sent(self, subjects: dict[Subject, int], now: float) -> None:
        self._sent_at = {subject: at for subject, at in self._sent_at.items() if now - at < PAUSE}
        self._sent_at.update(dict.fromkeys(subjects, now))

    def _send(self, subjects: dict[Subject, int]) -> None:
        if not subjects:
            return
        try:
            with self._database.connect() as connection:
                connection.execute(
                    text("SELECT pg_notify(:channel, :payload)"),
                    {"channel": CHANNEL, "payload": dump(subjects)},
                )
        except OutsourcedError as error:
            log.warning(
                "other processes were not told of new jobs, and will see them within a second: %s", error
            )

    def stop(self) -> None:
        """Sends what is pending now, and waits for what is being sent: afterwards the pool may be closed."""
        with self._lock:
            timer, self._timer = self._timer, None
            senders = [sender for sender in self._senders if sender.is_alive()]
        if timer is not None:
            timer.cancel()
            self._flush()
        for sender in senders:
            sender.join()


_process: tuple[int, str] = (0, "")


def _process_name() -> str:
    """Tells this process from every other, also from the one it was forked from."""
    global _process
    if _process[0] != os.getpid():
        _process = os.getpid(), uuid4().hex
    return _process[1]


def dump(subjects: dict[Subject, int]) -> str:
    """The payload of one notification; without subjects, where they do not fit: it is for everybody then."""
    payload = orjson.dumps([_process_name(), [[number, *subject] for subject, number in subjects.items()]])
    if len(payload) > MAX_PAYLOAD:
        payload = orjson.dumps([_process_name(), None])
    return payload.decode()


def load(payload: str) -> Changes | None:
    """What another process announced, and nothing if this one did; None: something, look what."""
    process, subjects = orjson.loads(payload)
    if process == _process_name():
        return Changes()
    if subjects is None:
        return None
    return Changes(
        ready={(names[0], names[1]): number for number, *names in subjects if len(names) == 2},
        workers=frozenset(names[0] for _, *names in subjects if len(names) == 1),
    )
