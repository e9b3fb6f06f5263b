"""Hiring and firing, which `worker` and `queue` both can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from outsourced.errors import NotFound
from outsourced.server.cli.group import actor, confirm, yes_option
from outsourced.server.services import here
from outsourced.sql import overview, workers
from outsourced.sql.workers import JobsOfFired

Command = TypeVar("Command", bound=Callable[..., Any])


def fire_options(command: Command) -> Command:
    """Adds `--jobs` and `--yes`."""
    jobs = click.option(
        "--jobs",
        type=click.Choice(["finish", "release", "cancel"]),
        default="finish",
        show_default=True,
        help="What becomes of jobs begun; those not begun go back to the queue in any case.",
    )
    return jobs(yes_option(command))


def hire_for(worker: str, queue: str) -> None:
    """Hires the worker for the queue, and says so."""
    with _mix_up_explained("hire", worker, queue):
        done = workers.hire(here().backend, worker, queue, actor=actor())
    click.echo(f"Worker {worker!r} {'now' if done.changed else 'already'} works queue {queue!r}.")


def fire_from(worker: str, queue: str, *, jobs: JobsOfFired, yes: bool) -> None:
    """Fires the worker from the queue, and says what became of its jobs."""
    if jobs != "finish":
        verb = "given back" if jobs == "release" else "cancelled"
        confirm(f"Jobs of queue {queue!r} that worker {worker!r} has begun will be {verb}. Go on?", yes=yes)
    with _mix_up_explained("fire", worker, queue):
        done = workers.fire(here().backend, worker, queue, jobs=jobs, actor=actor())
    if not done.changed:
        click.echo(f"Worker {worker!r} does not work queue {queue!r}.")
        return
    parts = [f"Worker {worker!r} no longer works queue {queue!r}"]
    if done.moved:
        parts.append(f"{len(done.moved)} jobs went back")
    if done.cancelling:
        parts.append(f"{done.cancelling} are being cancelled")
    click.echo("; ".join(parts) + ".")


@contextmanager
def _mix_up_explained(verb: str, worker: str, queue: str) -> Iterator[None]:
    """Adds the command that was meant to NotFound, where one of the names is that of the other kind."""
    try:
        yield
    except NotFound as error:
        is_queue = worker in {info.name for info in overview.queues(here().database)}
        is_worker = queue in {info.name for info in overview.workers(here().database)}
        if not is_queue and not is_worker:
            raise
        facts = [f"{worker!r} is a queue"] * is_queue + [f"{queue!r} is a worker"] * is_worker
        the_worker, the_queue = queue if is_worker else "WORKER", worker if is_queue else "QUEUE"
        raise NotFound(
            f"{' and '.join(facts)}: `flask outsourcer worker {verb} {the_worker} {the_queue}`, "
            f"or `flask outsourcer queue {verb} {the_queue} {the_worker}`"
        ) from error
