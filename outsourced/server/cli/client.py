"""`client`: producers elsewhere. Make them, give them credentials, and queues to enqueue into."""

from __future__ import annotations

from pathlib import Path

import click
from flask.cli import AppGroup

from outsourced.server import credentials_file
from outsourced.server.cli import account
from outsourced.server.cli.group import actor, json_option
from outsourced.server.cli.output import print_facts, print_json, print_table
from outsourced.server.services import here
from outsourced.sql import clients, overview

commands = AppGroup("client", help="Clients: producers that enqueue over HTTP.")
account.add_commands(commands, clients, "client")


@commands.command()
@click.argument("name")
def create(name: str) -> None:
    """Makes a client; it may enqueue nowhere until it is allowed to."""
    clients.create(here().backend, name, actor=actor())
    click.echo(f"Client {name!r} created. Next: `flask outsourcer client allow {name} QUEUE…`")


@commands.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """Shows the clients and the queues they may enqueue into."""
    found = overview.clients(here().database)
    if as_json:
        print_json(found)
        return
    rows = [(info.name, info.state, info.queues, info.created_at) for info in found]
    titles = ("NAME", "STATE", "QUEUES", "CREATED")
    print_table(titles, rows, empty="There is no client yet: `flask outsourcer client create NAME`")


@commands.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """Shows one client, its queues and its credentials."""
    info = overview.client(here().database, name)
    if as_json:
        print_json(info)
        return
    print_facts(
        [
            ("name", info.name),
            ("state", info.state),
            ("queues", info.queues or f"none: `flask outsourcer client allow {name} QUEUE…`"),
            ("created", info.created_at),
        ]
    )
    click.echo()
    print_table(
        ("CREDENTIAL", "CREATED", "LAST USED"),
        [(c.kid, c.created_at, c.used_at or "never") for c in info.credentials],
        empty=f"No credentials: `flask outsourcer client config -o FILE {name}`",
    )


@commands.command("config")
@click.argument("name")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The file to write; else it is printed."
)
@click.option("--secret", is_flag=True, help="A secret instead of a key pair: simpler, and less safe.")
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
def config_(name: str, *, output: Path | None, secret: bool, force: bool) -> None:
    """Writes what the client needs to connect: address, and a fresh private key or secret.

    It is nowhere else: the server keeps the public key, or a digest. Earlier credentials stay good.
    """
    draft = credentials_file.for_client(here(), name, secret=secret, actor=actor())
    if output is None:
        draft.commit()
        click.echo(draft.text, nl=False)
        return
    credentials_file.write(output, draft, force=force)
    click.echo(
        f"{output} written. Copy it to the producer's machine, and there:\n"
        f'  pip install outsourced\n  outsourced.Client("{output.name}").enqueue("module.task", 1, 2)',
        err=True,
    )
