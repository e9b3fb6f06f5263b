"""`init`, `maintain`, `prune` and `stats`: the installation as a whole."""

from __future__ import annotations

import signal
import threading
from datetime import timedelta
from types import FrameType

import click
from flask import current_app
from flask.cli import with_appcontext

from outsourced.errors import BackendUnavailable, ConfigurationError
from outsourced.server import config, signing
from outsourced.server.cli.group import actor, confirm, json_option, yes_option
from outsourced.server.cli.output import print_facts, print_json
from outsourced.server.services import here
from outsourced.sql import installation, migrate, overview, retention, storage_mark

#: seconds to wait when the database does not answer
RETRY_AFTER = 5.0


@click.command()
@click.argument("url", required=False)
@click.option(
    "--adopt-storage", is_flag=True, help="Files are in this host's OUTSOURCED_STORAGE from now on."
)
@with_appcontext
def init(url: str | None, *, adopt_storage: bool) -> None:
    """Makes the tables, the installation's id and its signing key. Safe to run twice.

    URL is where workers reach this server, the blueprint's prefix included, like
    https://app.example.com/outsourced.
    """
    address = _checked(url)
    services = here()
    before = migrate.upgrade(services.database)
    stored = installation.find(services.database)
    facts = installation.initialise(
        services.database,
        url=address,
        signing_key=_signing_key(stored),
        actor=actor(),
    )
    _require_signing_key(facts)
    click.echo(_tables(before))
    click.echo(f"Installation {facts.uuid}, {'set up now' if stored is None else 'set up before'}.")
    previous = None if stored is None else stored.url
    click.echo(_address(services.settings.url, facts.url, previous))
    if adopt_storage:
        storage_mark.adopt(services.backend, actor=actor())
        click.echo(f"Files are in {services.settings.storage}, whatever is in there now.")


def _checked(url: str | None) -> str | None:
    try:
        return None if url is None else config.installation_url(url)
    except ValueError as error:
        raise click.BadParameter(f"{url!r}: {error}", param_hint="URL") from error


def _signing_key(stored: installation.InstallationFacts | None) -> str | None:
    """A new signing key where one is needed."""
    if here().settings.signing_key or (stored is not None and stored.signing_key is not None):
        return None
    if not current_app.secret_key:
        raise ConfigurationError(
            "the app has no SECRET_KEY, under which the signing key is kept encrypted. Make one with "
            "`python -c 'import secrets; print(secrets.token_hex())'` and set app.config['SECRET_KEY'] "
            "to it, or set OUTSOURCED_SIGNING_KEY to a key of your own"
        )
    return signing.new_signing_key(current_app.secret_key)


def _require_signing_key(facts: installation.InstallationFacts) -> None:
    """Raises ConfigurationError for a key this app cannot use, rather than at the first token."""
    signing.load_signing_key(
        facts.signing_key,
        secret_key=current_app.secret_key,
        fallbacks=current_app.config.get("SECRET_KEY_FALLBACKS") or (),
        given=here().settings.signing_key,
    )


def _tables(before: str | None) -> str:
    now = migrate.head()
    if before == now:
        return f"The tables are at revision {now} already."
    return f"The tables are now at revision {now}{f', they were at {before}' if before else ''}."


def _address(configured: str | None, stored: str | None, previous: str | None) -> str:
    if configured is not None:
        return f"Workers reach this server at {configured}, by OUTSOURCED_URL."
    if stored is None:
        return "Workers have no address to reach this server at yet: `flask outsourcer init https://…/outsourced`"
    changed = previous is not None and previous != stored
    return f"Workers reach this server at {stored}." + (
        f" It was {previous}, which the configuration files written so far still name." if changed else ""
    )


@click.command()
@click.option("--once", is_flag=True, help="Do what is due now, and end.")
@with_appcontext
def maintain(*, once: bool) -> None:
    """Runs the background duties (promote, rescue, expire, prune) until it is told to end.

    Serving processes do so by themselves. This is for hosts whose processes may have no threads.
    """
    janitor, teller = here().janitor, here().teller
    if once:
        done = janitor.tick()
        if told := teller.tick():
            done["tell"] = told
        click.echo(", ".join(f"{duty}: {jobs}" for duty, jobs in done.items()) or "Nothing is due.")
        return
    ending = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    teller.start()
    click.echo("The background duties run; Ctrl-C ends them.")
    pause = here().settings.promote_interval.total_seconds()
    while not ending.is_set():
        try:
            janitor.tick()
            ending.wait(pause)
        except BackendUnavailable as error:
            click.echo(f"next try in {RETRY_AFTER:g} s: {error}", err=True)
            ending.wait(RETRY_AFTER)


@click.command()
@yes_option
@with_appcontext
def prune(*, yes: bool) -> None:
    """Deletes what ended longer ago than OUTSOURCED_RETENTION says. Servers do so by themselves."""
    kept = here().backend.retention
    confirm(
        f"Failed jobs that ended more than {_age(kept.failed)} ago, other ended jobs after "
        f"{_age(kept.completed)}, and results after {_age(kept.results)} will be deleted for good. Go on?",
        yes=yes,
    )
    pruned = retention.prune(here().backend)
    found = [f"{number:,} {kind}" for kind, number in pruned.items() if number]
    click.echo(f"Deleted {', '.join(found)}." if found else "There is nothing old enough.")


def _age(age: timedelta) -> str:
    days, rest = divmod(age.total_seconds(), 86400)
    return f"{days:g} d" if not rest else f"{age.total_seconds() / 3600:g} h"


@click.command()
@json_option
@with_appcontext
def stats(*, as_json: bool) -> None:
    """Shows how many there are of everything."""
    figures = overview.figures(here().database)
    if as_json:
        print_json(figures)
        return
    print_facts(
        [
            (
                "jobs",
                ", ".join(f"{number} {state}" for state, number in sorted(figures.jobs.items())) or "none",
            ),
            ("queues", f"{figures.queues}, {figures.paused_queues} of them paused"),
            ("workers", f"{figures.workers}, {figures.connected_workers} of them connected"),
            ("last tick", figures.alive_at or "never: no server has run yet"),
        ]
    )
