"""Hiring and firing, which `worker` and `queue` both can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from outsourced.server.cli.group import actor, confirm, yes_option
from outsourced.server.services import here
from outsourced.sql import workers
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
    done = workers.hire(here().backend, worker, queue, actor=actor())
    click.echo(f"Worker {worker!r} {'now' if done.changed else 'already'} works queue {queue!r}.")


def fire_from(worker: str, queue: str, *, jobs: JobsOfFired, yes: bool) -> None:
    """Fires the worker from the queue, and says what became of its jobs."""
    if jobs != "finish":
        verb = "given back" if jobs == "release" else "cancelled"
        confirm(f"Jobs of queue {queue!r} that worker {worker!r} has begun will be {verb}. Go on?", yes=yes)
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
