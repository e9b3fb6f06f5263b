"""The command `outsourced_worker`."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from outsourced import workdir
from outsourced.errors import (
    AuthenticationFailed,
    BackendUnavailable,
    ConfigurationError,
    OutsourcedError,
    SchemaOutdated,
    TooManyRequests,
    WorkerLocked,
    WorkerTooOld,
)
from outsourced.registry import Registry
from outsourced_worker import celerys, installed_version
from outsourced_worker.assembly import make_worker
from outsourced_worker.check import describe_server, describe_setup
from outsourced_worker.config import (
    WorkerConfig,
    build,
    load_config,
    read_file,
    user_file,
)
from outsourced_worker.instance import node_name
from outsourced_worker.loader import load_tasks
from outsourced_worker.logs import LEVELS, Logs
from outsourced_worker.pools.choice import POOLS

log = logging.getLogger("outsourced_worker")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "-I",
    "--include",
    "-A",
    "--app",
    multiple=True,
    metavar="MODULE",
    help="Import tasks from here, not what the file says.",
)
@click.option("-c", "--concurrency", type=click.IntRange(min=1), help="Jobs at a time; default: one a core.")
@click.option(
    "-P",
    "--pool",
    type=click.Choice((*POOLS, "prefork")),
    help="Where jobs run; default: processes, which Celery calls prefork.",
)
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(LEVELS, case_sensitive=False),
    help="Default: info, without the lines of jobs that are received and succeed.",
)
@click.option("--log-format", type=click.Choice(("text", "json")), default="text")
@click.option("--once", "--burst", "burst", is_flag=True, help="End when there is nothing to do.")
@click.option("--check", "checking", is_flag=True, help="Say whether this worker could work, and end.")
@click.option(
    "-n",
    "--hostname",
    metavar="NAME",
    help="What to call this process; default: the host's name. %h stands for that, %n and %d for its parts.",
)
@click.option(
    "--max-tasks-per-child",
    "--maxtasksperchild",
    type=click.IntRange(min=1),
    help="Jobs after which a process of the pool is replaced.",
)
@click.option(
    "--max-memory-per-child",
    type=click.IntRange(min=1),
    metavar="KIB",
    help="Memory after which a process of the pool is replaced, between two jobs.",
)
@click.option(
    "--install", type=click.Path(path_type=Path), metavar="FILE", help="Keep FILE as your configuration."
)
@celerys.accepted
@click.version_option(installed_version(), prog_name="outsourced_worker")
def command(file: Path | None, **options: Any) -> None:
    """Claims jobs from the server that FILE names and runs them.

    Without FILE the configuration is $OUTSOURCED_CONFIG, ./outsourced.yml, or that of your user or this
    machine. TERM or Ctrl-C finishes the running jobs; a second one gives them back at once.
    """
    logs = Logs(options["loglevel"], options["log_format"])
    logs.configure()
    if options["install"]:
        install(options["install"])
        return
    for reason in celerys.reasons():
        log.warning("%s", reason)
    if file == Path("worker") and not file.exists():
        file = None  # `celery worker` is how it used to be typed
    config = _configure(file, options)
    registry = load_tasks(config.include)
    logs.hand_over()
    if options["checking"]:
        for lines in (describe_setup(config, registry), describe_server(config)):
            for line in lines:
                click.echo(line)
        return
    sys.exit(_work(config, registry, logs, burst=options["burst"]))


def main() -> None:
    """Runs the command; every error becomes one message on stderr and an exit code: 1 failed, 2 usage."""
    try:
        command()
    except OutsourcedError as error:
        click.echo(f"outsourced_worker: {explain(error)}", err=True)
        ours = isinstance(error, ConfigurationError) and not isinstance(error, SchemaOutdated)
        sys.exit(2 if ours else 1)


def explain(error: OutsourcedError) -> str:
    """The error, and what to do about it where the message alone does not say."""
    match error:
        case WorkerLocked():
            return f"{error} (`flask outsourcer worker unlock NAME` on the server lets it in again)"
        case AuthenticationFailed():
            return (
                f"the server does not accept these credentials: {str(error).rstrip('.')}. "
                "They were revoked, or belong to another server; write new ones there with "
                "`flask outsourcer worker config -o FILE NAME`"
            )
        case WorkerTooOld():
            return f"{error} (`{sys.executable} -m pip install --upgrade outsourced`)"
        case SchemaOutdated():
            return f"the server cannot answer now: {error}"
        case TooManyRequests():
            return str(error)
        case BackendUnavailable():
            return f"{error}. Is the server running, and the url in the configuration right?"
        case _:
            return str(error)


def install(source: Path) -> None:
    """Copies a configuration to the user's folder, readable by its owner alone."""
    build(read_file(source), source=str(source))
    target = user_file()
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = target.with_suffix(".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as copy:
        os.fchmod(copy.fileno(), 0o600)
        copy.write(source.read_bytes())
    draft.replace(target)
    click.echo(f"installed as {target}; `outsourced_worker` alone now finds it")


def _configure(file: Path | None, options: dict[str, Any]) -> WorkerConfig:
    given = {
        "include": tuple(name for given in options["include"] for name in given.split(",")),
        "concurrency": options["concurrency"],
        "pool": options["pool"],
        "instance_name": options["hostname"] and node_name(options["hostname"]),
        "max_tasks_per_child": options["max_tasks_per_child"],
        "max_memory_per_child": options["max_memory_per_child"],
    }
    config, warnings = load_config(file, os.environ, given)
    for warning in warnings:
        log.warning("%s", warning)
    return config


def _work(config: WorkerConfig, registry: Registry, logs: Logs, *, burst: bool) -> int:
    for line in describe_setup(config, registry):
        log.info("%s", line)
    if burst:
        # one that ends by itself must not wait for a server that is not there
        for line in describe_server(config):
            log.info("%s", line)
    workdir.sweep()
    worker = make_worker(config, registry, logs, burst=burst)
    if not worker.pool.interrupts:
        log.info(
            "the %s pool cannot stop a task that has begun, nor hold it to a time limit; processes can",
            config.pool,
        )
    code = worker.run()
    if worker.failure is not None:
        log.error("%s", explain(worker.failure))
    return code


if __name__ == "__main__":
    main()
