"""`flask outsourcer …`: what people do on the server, from the command line."""

from __future__ import annotations

from flask import Blueprint

from outsourced.server.cli import (
    audit,
    celery,
    client,
    database,
    installation,
    job,
    queue,
    run,
    schedule,
    task,
    worker,
)
from outsourced.server.cli.group import Outsourcer

outsourcer = Outsourcer("outsourcer", help="Workers, queues and jobs of this server.")
worker.commands.add_command(run.run)
for command in (
    installation.init,
    database.commands,
    worker.commands,
    queue.commands,
    task.commands,
    client.commands,
    job.commands,
    schedule.commands,
    celery.commands,
    audit.audit,
    installation.maintain,
    installation.prune,
    installation.stats,
):
    outsourcer.add_command(command)


def register(blueprint: Blueprint) -> None:
    """Gives the blueprint its commands; the app they end up in runs them in its own context."""
    blueprint.cli, blueprint.cli_group = outsourcer, outsourcer.name
