"""PgQueuer on asyncpg: two processes that fetch batches of a hundred.

They call its `run()`, as `pgq run` does; the command itself does not start with the current typer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer, run
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.peers import settings, tally

WORKERS = [["python", "-m", "bench.peers.pgqueuer_postgresql"]] * 2
#: jobs that a worker fetches at a time
BATCH = 100
#: jobs of one INSERT
CHUNK = 1000


@asynccontextmanager
async def create() -> AsyncIterator[PgQueuer]:
    """One worker."""
    connection = await asyncpg.connect(settings.POSTGRESQL)
    queuer = PgQueuer(AsyncpgDriver(connection))

    @queuer.entrypoint("nothing")
    async def nothing(job: Job) -> None:
        tally.mark()

    try:
        yield queuer
    finally:
        await connection.close()


def prepare() -> None:
    runner, queries = _producer()
    runner.run(queries.install())


def enqueue_each(count: int) -> None:
    runner, queries = _producer()

    async def work() -> None:
        for number in range(count):
            await queries.enqueue("nothing", b"%d" % number)

    runner.run(work())


def enqueue_bulk(count: int) -> None:
    runner, queries = _producer()

    async def work() -> None:
        for start in range(0, count, CHUNK):
            numbers = range(start, min(start + CHUNK, count))
            payloads: list[bytes | None] = [b"%d" % number for number in numbers]
            await queries.enqueue(["nothing"] * len(payloads), payloads, [0] * len(payloads))

    runner.run(work())


@cache
def _producer() -> tuple[asyncio.Runner, Queries]:
    """The event loop and the connection of the enqueueing process."""
    runner = asyncio.Runner()
    return runner, Queries(AsyncpgDriver(runner.run(asyncpg.connect(settings.POSTGRESQL))))


def clean() -> None:
    """Its database is dropped."""


if __name__ == "__main__":
    asyncio.run(run(create, batch_size=BATCH))
