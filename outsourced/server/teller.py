"""Telling the app of its owners' ended jobs: calls what `on_job_end` has registered.

In a thread of its own, since a callback may take its time; each in a fresh app context.
"""

from __future__ import annotations

import time
from datetime import timedelta

from flask import Flask

from outsourced.callbacks import callbacks_of, listened_types
from outsourced.records import Job
from outsourced.server.service import Service
from outsourced.sql import endings
from outsourced.sql.backend import SqlBackend

#: how often ends are looked for
INTERVAL = timedelta(seconds=0.5)
#: seconds after which a process says again what it listens to
SPEAK_EVERY = 3600.0


class Teller(Service):
    """Delivers ends of jobs to callbacks; idle where none is registered."""

    def __init__(self, app: Flask, backend: SqlBackend) -> None:
        super().__init__("callbacks", INTERVAL)
        self._app, self._backend = app, backend
        self._spoken_for: tuple[str, ...] = ()
        self._spoke_at = 0.0

    def start(self) -> None:
        """Starts the thread, once anything is registered; from now on no end is missed."""
        if listened_types():
            self._listen()
            super().start()

    def tick(self) -> int:
        """Tells of all ends that are due; gives how many."""
        types = self._listen()
        told = number = endings.deliver(self._backend, types, self._tell) if types else 0
        while number == endings.BATCH:
            number = endings.deliver(self._backend, types, self._tell)
            told += number
        return told

    def _listen(self) -> tuple[str, ...]:
        """Says which types are listened to, where that is news or was long ago; gives them."""
        types = listened_types()
        if types != self._spoken_for or time.monotonic() - self._spoke_at > SPEAK_EVERY:
            endings.listen(self._backend, types)
            self._spoken_for, self._spoke_at = types, time.monotonic()
        return types

    def _tell(self, job: Job) -> None:
        assert job.owner is not None
        for callback in callbacks_of(job.owner.type):
            with self._app.app_context():
                callback(job)
