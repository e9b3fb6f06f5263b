"""`audit`: what people did."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from outsourced.server.cli.group import json_option
from outsourced.server.cli.output import print_json, print_table
from outsourced.server.services import here
from outsourced.sql.audit import entries


@click.command()
@click.argument("subject", required=False)
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True)
@json_option
@with_appcontext
def audit(subject: str | None, *, limit: int, as_json: bool) -> None:
    """Shows the latest acts of people, newest first; with SUBJECT, those on that worker or queue."""
    acts = entries(here().database, subject=subject, limit=limit)
    if as_json:
        print_json(acts)
        return
    rows = [
        (act.at, act.actor, act.act, act.subject, ", ".join(f"{k}={v}" for k, v in act.details.items()))
        for act in acts
    ]
    on = f"to {subject!r} " if subject else ""
    print_table(("AT", "WHO", "ACT", "ON", "DETAILS"), rows, empty=f"Nobody has done anything {on}yet.")
