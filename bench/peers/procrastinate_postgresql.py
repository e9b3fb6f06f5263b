"""Procrastinate: two worker processes of ten coroutines each, woken by LISTEN as usual."""

from __future__ import annotations

import atexit
from functools import cache

from procrastinate import App, PsycopgConnector

from bench.peers import settings, tally

WORKERS = [
    [
        *("procrastinate", "--app", "bench.peers.procrastinate_postgresql.app", "--log-level", "warning"),
        *("worker", "--concurrency", "10"),
    ]
] * 2
#: jobs of one INSERT
CHUNK = 1000

app = App(connector=PsycopgConnector(conninfo=settings.POSTGRESQL))


@app.task(name="nothing")
async def nothing(number: int) -> None:
    tally.mark()


@cache
def _open() -> None:
    """Opens the connections of the enqueueing process; a worker opens its own."""
    app.open()
    atexit.register(app.close)


def prepare() -> None:
    _open()
    app.schema_manager.apply_schema()


def enqueue_each(count: int) -> None:
    _open()
    for number in range(count):
        nothing.defer(number=number)


def enqueue_bulk(count: int) -> None:
    _open()
    for start in range(0, count, CHUNK):
        nothing.batch_defer(*({"number": number} for number in range(start, min(start + CHUNK, count))))


def clean() -> None:
    """Its database is dropped."""
