"""`worker`: make workers, give them credentials, hire, fire, pause and lock them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import click
from flask.cli import AppGroup

from outsourced.server import credentials_file, portable
from outsourced.server.cli import account
from outsourced.server.cli.group import actor, json_option
from outsourced.server.cli.output import print_facts, print_json, print_table
from outsourced.server.cli.staffing import fire_from, fire_options, hire_for
from outsourced.server.credentials_file import TaskModules, task_modules
from outsourced.server.services import here
from outsourced.shown import WorkerInfo
from outsourced.sql import overview, workers
from outsourced.sql.workers import JobsOfFired

commands = AppGroup("worker", help="Workers: create, credentials, hire, fire, pause, lock.")
account.add_commands(commands, workers, "worker")

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@commands.command()
@click.argument("name")
def create(name: str) -> None:
    """Makes a worker; it works nothing until it is hired and has a configuration."""
    workers.create(here().backend, name, actor=actor())
    click.echo(f"Worker {name!r} created.")


@commands.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """Shows the workers, their queues, and when they were last heard of."""
    found = overview.workers(here().database)
    if as_json:
        print_json(found)
        return
    rows = [(info.name, _state(info), info.queues, info.leases, info.seen_at or "never") for info in found]
    titles = ("NAME", "STATE", "QUEUES", "JOBS", "LAST SEEN")
    print_table(titles, rows, empty="There is no worker yet: `flask outsourcer worker create NAME`")


@commands.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """Shows one worker, its processes and its credentials."""
    info = overview.worker(here().database, name)
    if as_json:
        print_json(info)
        return
    print_facts(
        [
            ("name", info.name),
            ("state", _state(info)),
            ("queues", info.queues or "none: `flask outsourcer queue hire [QUEUE] WORKER`"),
            ("jobs in hand", info.leases),
            ("created", info.created_at),
            ("last seen", info.seen_at or "never"),
        ]
    )
    click.echo()
    rows = [(i.host, i.pid, i.version, i.started_at, i.seen_at) for i in info.instances]
    print_table(
        ("HOST", "PID", "VERSION", "STARTED", "LAST SEEN"), rows, empty="No process has connected yet."
    )
    click.echo()
    print_table(
        ("CREDENTIAL", "CREATED", "LAST USED"),
        [(c.kid, c.created_at, c.used_at or "never") for c in info.credentials],
        empty=f"No credentials: `flask outsourcer worker config -o FILE {name}`",
    )


@commands.command()
@click.argument("names", metavar="[NAME…]", nargs=-1)
@json_option
def stats(names: tuple[str, ...], *, as_json: bool) -> None:
    """Says in a line for each worker what it works, and what it has done."""
    found = overview.worker_stats(here().database, names)
    if as_json:
        print_json(found)
        return
    for one in found:
        counts = ", ".join(f"{number} {state}" for state, number in sorted(one.counts.items()) if number)
        queues = ", ".join(one.info.queues) or "no queue"
        click.echo(f"{one.info.name}: {_state(one.info)}, works {queues}; {counts or 'no job yet'}")


@commands.command("config")
@click.argument("name")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The file to write; else it is printed."
)
@click.option(
    "--include", multiple=True, metavar="MODULE", help="A module that defines tasks; may be repeated."
)
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
def config_(name: str, *, output: Path | None, include: tuple[str, ...], force: bool) -> None:
    """Writes what the worker needs to connect: address, a fresh private key, its modules.

    The private key is nowhere else; the server keeps the public one. Earlier credentials stay good.
    """
    services = here()
    info = overview.worker(services.database, name)
    modules = TaskModules(include, {}) if include else task_modules()
    draft = credentials_file.for_worker(services, name, actor=actor(), **modules._asdict())
    if output is None:
        draft.commit()
        click.echo(draft.text, nl=False)
    else:
        kid = credentials_file.write(output, draft, force=force)
        click.echo(_next_steps(output, kid), err=True)
    if modules.include and modules.left_out:
        click.echo(f"Not included, for they need the app: {', '.join(modules.left_out)}", err=True)
    for warning in _warnings(info, draft.url, modules):
        click.echo(f"Warning: {warning}", err=True)


def _next_steps(output: Path, kid: str) -> str:
    return (
        f"{output} written, with the new credential {kid}. Copy it to the worker's machine, and there:\n"
        "  pip install outsourced, and the package with your tasks\n"
        f"  outsourced_worker {output.name}"
    )


def _warnings(info: WorkerInfo, url: str, modules: TaskModules) -> list[str]:
    """What will keep the worker from working as things are."""
    found = []
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        found.append(
            f"{url} is not https: the worker will refuse to send its credentials there. "
            "`flask outsourcer init https://…` changes the address"
        )
    found += _module_warnings(modules)
    if not info.queues:
        found.append(f"the worker is hired nowhere: `flask outsourcer queue hire [QUEUE] {info.name}`")
    if info.state == "locked":
        found.append(f"the worker is locked out: `flask outsourcer worker unlock {info.name}`")
    return found


def _module_warnings(modules: TaskModules) -> list[str]:
    elsewhere = "define tasks for workers elsewhere in a module of their own"
    if modules.left_out and not modules.include:
        because = "; ".join(f"{module} {reason}" for module, reason in modules.left_out.items())
        return [f"`include:` is empty, for all modules with tasks need the app ({because}): {elsewhere}"]
    if not modules.include:
        return [
            "no task is registered in this app, so `include:` is empty: "
            "import the modules with your tasks, or name them with --include MODULE"
        ]
    return [
        f"{module} will not import where only a worker is, it {reason}: {elsewhere}"
        for module, reason in portable.bound_to_the_app(modules.include).items()
    ]


@commands.command()
@click.argument("name")
def pause(name: str) -> None:
    """Gives the worker no new jobs; what it has goes on."""
    done = workers.pause(here().backend, name, actor=actor())
    click.echo(f"Worker {name!r} is {'now' if done.changed else 'already'} paused.")


@commands.command()
@click.argument("name")
def resume(name: str) -> None:
    """Gives a paused worker jobs again."""
    done = workers.resume(here().backend, name, actor=actor())
    click.echo(f"Worker {name!r} {'is given jobs again' if done.changed else 'is not paused'}.")


@commands.command()
@click.argument("name")
@click.argument("queues", metavar="QUEUE…", nargs=-1, required=True)
def hire(name: str, queues: tuple[str, ...]) -> None:
    """Lets the worker work these queues."""
    for queue in queues:
        hire_for(name, queue)


@commands.command()
@click.argument("name")
@click.argument("queues", metavar="QUEUE…", nargs=-1, required=True)
@fire_options
def fire(name: str, queues: tuple[str, ...], *, jobs: JobsOfFired, yes: bool) -> None:
    """Takes these queues from the worker: nothing of them is handed to it any more."""
    for queue in queues:
        fire_from(name, queue, jobs=jobs, yes=yes)


def _state(info: WorkerInfo) -> str:
    return f"{info.state}, paused" if info.paused else info.state
