"""`celery check`: what of a module written for Celery needs care, and where its tasks may run."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from flask.cli import AppGroup

from outsourced.errors import ConfigurationError
from outsourced.server.celery_check import Report, examine
from outsourced.server.cli.group import json_option
from outsourced.server.cli.output import print_json

commands = AppGroup("celery", help="For those who come from Celery.")


@commands.command(with_appcontext=False)
@click.argument("module")
@json_option
def check(module: str, *, as_json: bool) -> None:
    """Reads MODULE, a name or a file, and runs nothing: what has no match, and which tasks may go remote."""
    path = _file(module)
    try:
        report = examine(path)
    except (SyntaxError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if as_json:
        print_json(report)
        return
    for line in _lines(path, report):
        click.echo(line)


def _lines(path: Path, report: Report) -> list[str]:
    lines = [f"{path}:{found.line}: {found.what}: {found.instead}" for found in report.findings]
    for task in report.tasks:
        where = (
            f"stays with the app (`flask outsourcer worker run`): it uses {', '.join(task.needs)}"
            if task.needs
            else "may run anywhere"
        )
        lines.append(f"{path}:{task.line}: task {task.name} {where}")
    if all(task.needs for task in report.tasks):
        return lines or [f"{path}: no task, and nothing that needs care"]
    if report.imports:
        lines.append(
            f"{path}: imports {', '.join(report.imports)}: move the tasks that may run anywhere "
            "into a module that does not"
        )
    lines.extend(
        f"{package}: is imported before {path.name}, and imports what belongs on the server: move the "
        "tasks that may run anywhere out of this package"
        for package in report.packages
    )
    return lines


def _file(module: str) -> Path:
    path = Path(module)
    if path.suffix == ".py":
        return path
    parts = module.split(".")
    for folder in (Path(), *map(Path, sys.path)):  # by hand: to look a module up imports its package
        for found in (folder.joinpath(*parts).with_suffix(".py"), folder.joinpath(*parts, "__init__.py")):
            if found.is_file():
                return found
    raise ConfigurationError(f"there is no module {module!r} here: name one, or its file")
