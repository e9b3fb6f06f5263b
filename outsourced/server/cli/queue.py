"""`queue`: make, change, pause, empty and destroy queues, and say who works them."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from outsourced.errors import UnknownQueue
from outsourced.server.cli.group import actor, confirm, json_option, yes_option
from outsourced.server.cli.output import print_json, print_table
from outsourced.server.cli.staffing import fire_from, fire_options, hire_for
from outsourced.server.cli.task import checked, limit_argument
from outsourced.server.services import here
from outsourced.shown import QueueInfo
from outsourced.sql import limits, overview, queues
from outsourced.sql.cancelling import JobsHeld
from outsourced.sql.workers import JobsOfFired
from outsourced.states import LIVE, State

commands = AppGroup("queue", help="Queues: create, change, pause, and hire workers for them.")


@commands.command()
@click.argument("name")
@click.option("-c", "--capacity", type=click.IntRange(min=0), help="Jobs it holds at most; 0: unlimited.")
def create(name: str, *, capacity: int | None) -> None:
    """Makes a queue; the first one becomes the default."""
    is_default = queues.create(here().backend, name, capacity=capacity, actor=actor())
    size = f"it holds {capacity} jobs at most" if capacity else "it is unlimited"
    default = ", and it is the default queue" if is_default else ""
    click.echo(f"Queue {name!r} created: {size}{default}.")


@commands.command()
@click.argument("name")
@click.option("-c", "--capacity", type=click.IntRange(min=0), help="Jobs it holds at most; 0: unlimited.")
@click.option("--default", is_flag=True, help="Jobs enqueued without a queue go here from now on.")
def change(name: str, *, capacity: int | None, default: bool) -> None:
    """Changes what it is told to, and nothing else."""
    if capacity is None and not default:
        raise click.UsageError("say what to change: --capacity N or --default")
    changed = queues.change(here().backend, name, capacity=capacity, default=default, actor=actor())
    click.echo(f"Queue {name!r} changed." if changed else f"Queue {name!r} is like that already.")


@commands.command()
@click.argument("name")
@limit_argument
def limit(name: str, rate: str) -> None:
    """Begins no more jobs of the queue than RATE, on all workers together.

    RATE is 10/s, 10/m, 10/h or `unlimited`.
    """
    done = limits.limit_queue(here().backend, name, checked(rate), actor=actor())
    click.echo(f"Queue {name!r} is {'now' if done.changed else 'already'} limited to: {rate}.")


@commands.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """Shows the queues, who works them, and the jobs in each."""
    found = overview.queues(here().database)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            info.name + (" (default)" if info.default else ""),
            "paused" if info.paused else "open",
            f"{sum(info.counts.get(state, 0) for state in LIVE)}/{info.capacity or '∞'}",
            *(info.counts.get(state, 0) for state in (State.UNASSIGNED, State.WORKING, State.FAILED)),
            info.workers,
        )
        for info in found
    ]
    titles = ("NAME", "STATE", "JOBS", "UNASSIGNED", "WORKING", "FAILED", "WORKERS")
    print_table(titles, rows, empty="There is no queue yet: `flask outsourcer queue create NAME`")


@commands.command()
@click.argument("names", metavar="[QUEUE…]", nargs=-1)
@json_option
def stats(names: tuple[str, ...], *, as_json: bool) -> None:
    """Says in a line for each queue what it holds, and who works it."""
    found = [info for info in overview.queues(here().database) if not names or info.name in names]
    for name in set(names) - {info.name for info in found}:
        raise UnknownQueue(f"there is no queue {name!r}", queue=name)
    if as_json:
        print_json(found)
        return
    for info in found:
        click.echo(_report(info))


def _report(info: QueueInfo) -> str:
    live = sum(info.counts.get(state, 0) for state in LIVE)
    room = f"{live} of {info.capacity} jobs" if info.capacity else f"{live} jobs, unlimited"
    states = ", ".join(f"{number} {state}" for state, number in sorted(info.counts.items()) if number)
    workers = f"{len(info.workers)} worker{'' if len(info.workers) == 1 else 's'}"
    return f"{info.name}: {room}{', paused' if info.paused else ''}, {workers}; {states or 'nothing ever'}"


@commands.command()
@click.argument("name")
@click.option(
    "--jobs",
    type=click.Choice(["finish", "cancel"]),
    default="finish",
    show_default=True,
    help="What becomes of jobs that workers have in hand.",
)
@yes_option
def empty(name: str, *, jobs: JobsHeld, yes: bool) -> None:
    """Cancels all jobs of the queue that no worker has in hand."""
    confirm(f"All waiting jobs of queue {name!r} will be cancelled. Go on?", yes=yes)
    emptied = queues.empty(here().backend, name, held=jobs, actor=actor())
    stopping = f"; workers are asked to stop {emptied.cancelling}" if emptied.cancelling else ""
    click.echo(f"Queue {name!r}: {emptied.cancelled} jobs cancelled{stopping}.")


@commands.command()
@click.argument("name")
@yes_option
def destroy(name: str, *, yes: bool) -> None:
    """Ends an empty queue for good, and forgets the jobs that ended in it."""
    confirm(f"Queue {name!r} and the record of its ended jobs will be gone. Go on?", yes=yes)
    forgotten = queues.destroy(here().backend, name, actor=actor())
    click.echo(f"Queue {name!r} is destroyed; {forgotten} ended jobs are forgotten.")


@commands.command()
@click.argument("name")
def pause(name: str) -> None:
    """Hands out no job of the queue any more; those in hand go on."""
    done = queues.pause(here().backend, name, actor=actor())
    click.echo(f"Queue {name!r} is {'now' if done.changed else 'already'} paused.")


@commands.command()
@click.argument("name")
def resume(name: str) -> None:
    """Hands out the queue's jobs again."""
    done = queues.resume(here().backend, name, actor=actor())
    click.echo(f"Queue {name!r} is {'open again' if done.changed else 'not paused'}.")


@commands.command()
@click.argument("queue_and_worker", metavar="[QUEUE] WORKER", nargs=-1, required=True)
def hire(queue_and_worker: tuple[str, ...]) -> None:
    """Lets WORKER work QUEUE, which may be left out while there is one queue."""
    name, worker = _split("hire", queue_and_worker)
    hire_for(worker, name)


@commands.command()
@click.argument("queue_and_worker", metavar="[QUEUE] WORKER", nargs=-1, required=True)
@fire_options
def fire(queue_and_worker: tuple[str, ...], *, jobs: JobsOfFired, yes: bool) -> None:
    """Takes QUEUE from WORKER: nothing of it is handed to them any more."""
    name, worker = _split("fire", queue_and_worker)
    fire_from(worker, name, jobs=jobs, yes=yes)


def _split(verb: str, words: tuple[str, ...]) -> tuple[str, str]:
    """The queue and the worker; the only queue where none is named."""
    if len(words) == 2:
        return words[0], words[1]
    if len(words) != 1:
        raise click.UsageError(
            f"expected [QUEUE] WORKER; several queues go with `flask outsourcer worker {verb} WORKER QUEUE…`"
        )
    names = [info.name for info in overview.queues(here().database)]
    if not names:
        raise UnknownQueue("there is no queue yet: `flask outsourcer queue create NAME`")
    if len(names) > 1:
        raise click.UsageError(f"there are several queues, so name one: {', '.join(names)}")
    return names[0], words[0]
