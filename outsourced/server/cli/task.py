"""`task`: rate limits of tasks."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from outsourced.server.cli.group import actor, json_option
from outsourced.server.cli.output import print_json, print_table
from outsourced.server.services import here
from outsourced.sql import limits

commands = AppGroup("task", help="Tasks: limit how many of their jobs are begun in a time.")

limit_argument = click.argument("rate", metavar="RATE")


def checked(rate: str, *, otherwise: str | None = None) -> str | None:
    """The rate as `limits` takes it; None for the word `otherwise`. Raises BadParameter."""
    if rate == otherwise:
        return None
    try:
        limits.written(rate)
    except ValueError as error:
        raise click.BadParameter(f"{error}; or `unlimited`", param_hint="RATE") from None
    return rate


@commands.command()
@click.argument("name")
@limit_argument
def limit(name: str, rate: str) -> None:
    """Begins no more jobs than RATE, on all workers together.

    RATE is 10/s, 10/m, 10/h, `unlimited`, or `declared`: as the task's code says.
    """
    chosen = checked(rate, otherwise="declared")
    done = limits.limit_task(here().backend, name, chosen, actor=actor())
    click.echo(f"Task {name!r} is {'now' if done.changed else 'already'} limited to: {rate}.")


@commands.command("limits")
@json_option
def limits_(*, as_json: bool) -> None:
    """Shows the rate limits, of tasks and of queues, and who set them."""
    found = limits.listing(here().database)
    if as_json:
        print_json(found)
        return
    rows = [(info.kind, info.name, info.limit, info.by) for info in found]
    titles = ("KIND", "NAME", "LIMIT", "SET BY")
    print_table(titles, rows, empty="Nothing is limited: `flask outsourcer task limit NAME 10/m`")
