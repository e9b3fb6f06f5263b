"""`worker run`: works jobs in the server's own process, each in an app context of its own."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Sequence

import click
from flask.cli import ScriptInfo, with_appcontext

from outsourced import conf
from outsourced.errors import AlreadyExists, ConfigurationError
from outsourced.registry import registry
from outsourced.server.celery_app import import_tasks
from outsourced.server.cli.group import actor
from outsourced.server.cli.in_process import AppLocator, begin_logs, make_worker
from outsourced.server.cli.staffing import hire_for
from outsourced.server.services import Services, here
from outsourced.sql import overview, standing, workers
from outsourced_worker.logs import LEVELS, Logs
from outsourced_worker.pools.choice import POOLS, PoolName

log = logging.getLogger(__name__)


@click.command()
@click.argument("name", required=False)
@click.option("-c", "--concurrency", type=click.IntRange(min=1), help="Jobs at a time; default: one a core.")
@click.option("-P", "--pool", type=click.Choice(POOLS), default=POOLS[0], show_default=True)
@click.option(
    "-Q", "--queues", metavar="QUEUE,…", default="", help="What a new worker is hired for; default: all."
)
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(LEVELS, case_sensitive=False),
    help="Default: the app's own, else info without the lines of jobs that are received and succeed.",
)
@click.option("--once", "--burst", "burst", is_flag=True, help="End when there is nothing to do.")
@with_appcontext
def run(
    name: str | None,
    *,
    concurrency: int | None,
    pool: PoolName,
    queues: str,
    loglevel: str | None,
    burst: bool,
) -> None:
    """Works jobs here, beside the database: for tasks that need the app or its models.

    It is a worker like those elsewhere, by default named after this machine: made and hired at its first
    run, then hired, fired, paused and locked as they are. TERM or Ctrl-C finishes the running jobs; a
    second one gives them back at once.
    """
    services, info = here(), click.get_current_context().ensure_object(ScriptInfo)
    locator = AppLocator.by(info)
    name = name or f"server@{socket.gethostname()}"
    if pool == "processes":
        locator.require_picklable()
    import_tasks(info.load_app())
    if not registry:
        raise ConfigurationError(
            "this app has registered no task: import the modules that define them where the app is made, "
            "or name them in OUTSOURCED_INCLUDE"
        )
    staff(services, name, [queue for queue in queues.split(",") if queue])
    logs = Logs(loglevel)
    begin_logs(logs)
    log.info("tasks    %s", ", ".join(sorted(registry)))
    worker = make_worker(
        info.load_app(), locator, name, logs, pool=pool, concurrency=concurrency or slots(), burst=burst
    )
    if not worker.pool.interrupts:
        log.info(
            "the %s pool cannot stop a task that has begun, nor hold it to a time limit; processes can", pool
        )
    services.work()
    try:
        code = worker.run()
    finally:
        services.stop()
    if worker.failure is not None:
        raise worker.failure
    sys.exit(code)


def slots() -> int:
    """How many jobs at a time where nobody says: as `worker_concurrency` does, else one a core."""
    return conf.in_force()["worker_concurrency"] or os.cpu_count() or 1


def staff(services: Services, name: str, queues: Sequence[str]) -> None:
    """Makes and hires the worker where there is none of this name, and says what it works.

    One that is there is left as it is: to hire it anew would undo what people did.
    """
    identity = workers.identity(services.database, name)
    if identity is None:
        _make(services, name, queues)
        identity = workers.identity(services.database, name)
        assert identity is not None
    elif queues:
        click.echo(f"Worker {name!r} is there already, so -Q changes nothing.", err=True)
    hired = standing.read(services.database, identity).queues
    click.echo(
        f"Worker {name!r} works {', '.join(hired) or 'no queue'}: "
        f"`flask outsourcer worker hire {name} QUEUE` adds a queue, `fire` takes one away, at once.",
        err=True,
    )


def _make(services: Services, name: str, queues: Sequence[str]) -> None:
    there = [info.name for info in overview.queues(services.database)]
    if not there:
        raise ConfigurationError("there is no queue to work yet: `flask outsourcer queue create NAME`")
    for queue in queues:
        services.backend.names.queue(queue)  # else a misspelt one would leave half a worker
    try:
        workers.create(services.backend, name, actor=actor())
    except AlreadyExists:
        if workers.identity(services.database, name) is None:
            raise  # a client has the name
        return  # made by another process just now, which hires it too
    for queue in queues or there:
        hire_for(name, queue)
