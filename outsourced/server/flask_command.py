"""`flask outsourcer` as Flask finds it, by an entry point: there before the blueprint is mounted.

Every `flask` command of every app beside which we are installed loads this module, so it imports
nothing: the commands, and SQLAlchemy with them, come when one is asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

from outsourced.errors import MissingExtra
from outsourced.extras import server_extra


class _Outsourcer(click.Group):
    """The blueprint's group of commands, imported at first use. A command that needs the app loads it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return _commands().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _commands().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        return _commands().invoke(ctx)


def _commands() -> click.Group:
    try:
        with server_extra("`flask outsourcer`"):
            commands: click.Group = importlib.import_module("outsourced.server.cli").outsourcer
            return commands
    except MissingExtra as error:
        raise click.ClickException(str(error)) from error


outsourcer = _Outsourcer("outsourcer", help="Workers, queues and jobs of this server.")
