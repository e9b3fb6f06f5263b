"""The pytest plugin: the fixture `outsourced_jobs`. Nothing is set up for tests that do not ask for it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from outsourced import backend
from outsourced.execution import Around
from outsourced.records import NewJob
from outsourced.testing.jobs import EnqueuedJobs, Noting, NotingMemory

#: in the configuration of pytest
SETTING = "outsourced_jobs"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the setting."""
    parser.addini(
        SETTING,
        "Where the jobs of the fixture outsourced_jobs are: database (the app's) or memory.",
        default="database",
    )


@pytest.fixture
def outsourced_jobs(request: pytest.FixtureRequest) -> Iterator[EnqueuedJobs]:
    """The jobs that this test enqueues: to assert, to run, and gone when it has ended.

    Where the test's fixture `app` is a Flask app with our blueprint they are in its database, by the
    way of production; else, or with `outsourced_jobs = memory` in pytest's configuration, in memory.
    """
    app = _app_of(request)
    in_database = (
        "outsourced" in getattr(app, "extensions", ()) and request.config.getini(SETTING) != "memory"
    )
    yield from _in_database(app) if in_database else _in_memory(getattr(app, "app_context", nullcontext))


def _app_of(request: pytest.FixtureRequest) -> Any:
    try:
        app = request.getfixturevalue("app")
    except pytest.FixtureLookupError as error:
        if error.argname != "app":
            raise
        return None
    return app


def _in_memory(around: Around) -> Iterator[EnqueuedJobs]:
    notes = list[NewJob]()
    memory = NotingMemory(notes)
    with backend.use(Noting(memory, notes)):
        yield EnqueuedJobs(notes, drain=partial(memory.drain, around=around), pass_time=memory.pass_time)


def _in_database(app: Any) -> Iterator[EnqueuedJobs]:
    server = importlib.import_module("outsourced.server.drain")  # tests without an app need no Flask
    store, notes = server.prepare(app), list[NewJob]()

    def pass_time(time: timedelta) -> None:
        store.database.clock_offset += time

    with backend.use(Noting(store, notes)):
        try:
            yield EnqueuedJobs(
                notes,
                drain=partial(server.drain, app, lambda producer: Noting(producer, notes)),
                pass_time=pass_time,
            )
        finally:
            store.database.clock_offset = timedelta()
            server.forget(store, [job.id for job in notes])
