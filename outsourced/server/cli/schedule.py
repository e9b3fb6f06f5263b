"""`schedule`: what recurs, when it is due next, and a pause of it."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from outsourced.server.cli.group import actor, json_option
from outsourced.server.cli.output import print_json, print_table
from outsourced.server.services import here
from outsourced.shown import ScheduleInfo
from outsourced.sql import recurring

commands = AppGroup("schedule", help="Recurring jobs: list, pause, and run them out of turn.")


@commands.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """Shows the schedules, their last ticks and when they are due next."""
    found = recurring.listing(here().database)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            info.name,
            info.task,
            _when(info),
            info.queue or "by default",
            "paused" if info.paused else info.due_at,
            info.ticked_at,
            f"skipped: {info.skipped}" if info.skipped else info.job_id,
        )
        for info in found
    ]
    titles = ("NAME", "TASK", "WHEN", "QUEUE", "NEXT", "LAST", "JOB")
    print_table(
        titles, rows, empty="Nothing recurs yet: OUTSOURCED_BEAT_SCHEDULE, or the app's beat_schedule"
    )


def _when(info: ScheduleInfo) -> str:
    if info.spec.startswith("every "):
        return f"{info.spec} s"
    return info.spec if info.zone == "UTC" else f"{info.spec} ({info.zone})"


@commands.command()
@click.argument("name")
def pause(name: str) -> None:
    """Leaves the ticks of a schedule out."""
    done = recurring.pause(here().backend, name, actor=actor())
    click.echo(f"Schedule {name!r} is {'now' if done.changed else 'already'} paused.")


@commands.command()
@click.argument("name")
def resume(name: str) -> None:
    """Lets a schedule tick again, from its next tick on."""
    done = recurring.resume(here().backend, name, actor=actor())
    click.echo(f"Schedule {name!r} {'ticks again' if done.changed else 'is not paused'}.")


@commands.command()
@click.argument("name")
def run(name: str) -> None:
    """Enqueues the job of a tick now; the next tick stays when it is."""
    click.echo(recurring.run(here().backend, name, actor=actor()))
