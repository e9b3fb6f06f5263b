"""The root of the commands: it turns each of our errors into one message, with the command to type."""

from __future__ import annotations

import getpass
import os
from typing import Any

import click
from flask.cli import AppGroup

from outsourced.errors import BackendUnavailable, OutsourcedError, StorageMismatch


class Outsourcer(AppGroup):
    """Runs a command; an error of ours ends it with exit code 1 and no traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OutsourcedError as error:
            raise click.ClickException(explain(error)) from error


def explain(error: OutsourcedError) -> str:
    """The error's message, and where the database is when that is the trouble."""
    if isinstance(error, BackendUnavailable) and not isinstance(error, StorageMismatch):
        return (
            f"{error}\nThe database's address comes from OUTSOURCED_DATABASE_URL, "
            "else from the app's SQLALCHEMY_DATABASE_URI."
        )
    return str(error)


def actor() -> str:
    """Who types, for audit and history."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in some containers
        name = str(os.getuid())
    return f"admin:{name}"


def confirm(question: str, *, yes: bool) -> None:
    """Asks, unless `--yes` was given; ends the command at "no"."""
    if not yes:
        click.confirm(question, abort=True)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
