"""`db`: the tables' versions."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from outsourced.server.cli.group import confirm, json_option, yes_option
from outsourced.server.cli.output import print_json
from outsourced.server.services import here
from outsourced.sql import migrate

commands = AppGroup("db", help="The tables: to this version's form, and back.")

sql_option = click.option("--sql", "as_sql", is_flag=True, help="Print the SQL instead of running it.")


@commands.command()
@click.argument("revision", default="head")
@sql_option
def upgrade(revision: str, *, as_sql: bool) -> None:
    """Brings the tables to this version's form, or to REVISION. Safe to run twice."""
    database = here().database
    if as_sql:
        click.echo(migrate.upgrade_script(database, revision))
        return
    before = migrate.upgrade(database, revision)
    _tell(before, migrate.current(database))


@commands.command()
@click.argument("revision", default="-1")
@sql_option
@yes_option
def downgrade(revision: str, *, as_sql: bool, yes: bool) -> None:
    """Takes the tables back one step, or to REVISION ("base": to none at all)."""
    database = here().database
    if as_sql:
        click.echo(migrate.downgrade_script(database, revision))
        return
    confirm("What only the later tables hold is lost. Go on?", yes=yes)
    before = migrate.downgrade(database, revision)
    _tell(before, migrate.current(database))


@commands.command()
@json_option
def current(*, as_json: bool) -> None:
    """Shows the revision the tables are at, and the one this version needs."""
    found, needed = migrate.current(here().database), migrate.head()
    if as_json:
        print_json({"current": found, "needed": needed})
        return
    click.echo(f"{found or 'none'} (this version needs {needed})")


@commands.command()
def check() -> None:
    """Ends with exit code 1 unless the tables are as this version needs them."""
    click.echo(f"The tables are at revision {migrate.check(here().database)}, as needed.")


def _tell(before: str | None, now: str | None) -> None:
    if before == now:
        click.echo(f"The tables are at revision {now or 'none'} already.")
    else:
        click.echo(f"The tables are now at revision {now or 'none'}; they were at {before or 'none'}.")
