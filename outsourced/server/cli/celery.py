"""`celery check`: what of modules written for Celery needs care, and where their tasks may run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from flask.cli import AppGroup

from outsourced.errors import ConfigurationError
from outsourced.server.celery_check import Report, examine, examine_all, modules_in
from outsourced.server.cli.group import json_option
from outsourced.server.cli.output import print_json

commands = AppGroup("celery", help="For those who come from Celery.")


@commands.command(with_appcontext=False)
@click.argument("modules", metavar="MODULE…", nargs=-1, required=True)
@json_option
def check(modules: tuple[str, ...], *, as_json: bool) -> None:
    """Reads MODULE and runs nothing: what has no match here, and which tasks may go remote.

    MODULE is the name of a module, or a file; of a package or folder all modules are read. Of tests it
    says which use Celery's fixtures.
    """
    reports = [report for module in modules for report in _reports(module)]
    if as_json:
        print_json(_merged(reports))
        return
    lines = [line for report in reports for line in _lines(report)] + _package_lines(reports)
    if not lines:
        lines = [f"{module}: no task, and nothing that needs care" for module in modules]
    for line in lines:
        click.echo(line)


def _reports(module: str) -> list[Report]:
    path = _path(module)
    try:
        reports = examine_all(path) if path.is_dir() else [examine(path)]
    except (SyntaxError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if not reports:
        raise ConfigurationError(f"there is no module in {path}")
    return reports


def _merged(reports: list[Report]) -> dict[str, Any]:
    """One report of all, and what is said of each module as a whole under its file."""
    return {
        "imports": sorted({name for report in reports for name in report.imports}),
        "packages": sorted({package for report in reports for package in report.packages}),
        "tasks": [task for report in reports for task in report.tasks],
        "findings": [finding for report in reports for finding in report.findings],
        "modules": [
            {"file": report.file, "imports": report.imports, "packages": report.packages}
            for report in reports
        ],
    }


def _lines(report: Report) -> list[str]:
    lines = [f"{found.file}:{found.line}: {found.what}: {found.instead}" for found in report.findings]
    for task in report.tasks:
        where = (
            f"stays with the app (`flask outsourcer worker run`): it uses {', '.join(task.needs)}"
            if task.needs
            else "may run anywhere"
        )
        lines.append(f"{task.file}:{task.line}: task {task.name} {where}")
    if report.imports and _may_go(report):
        lines.append(
            f"{report.file}: imports {', '.join(report.imports)}: move the tasks that may run anywhere "
            "into a module that does not"
        )
    return lines


def _package_lines(reports: list[Report]) -> list[str]:
    """A line for each package that would bring along what its modules do without."""
    names: dict[str, list[str]] = {}
    for report in filter(_may_go, reports):
        for package in report.packages:
            names.setdefault(package, []).append(Path(report.file).name)
    return [
        f"{package}: is imported before {', '.join(modules)}, and imports what belongs on the server: "
        "move the tasks that may run anywhere out of this package"
        for package, modules in names.items()
    ]


def _may_go(report: Report) -> bool:
    return not all(task.needs for task in report.tasks)


def _path(module: str) -> Path:
    """The file, or the folder of a package."""
    path = Path(module)
    if path.suffix == ".py" or (path.is_dir() and module != path.name):
        return path
    parts = module.split(".")
    for folder in (Path(), *map(Path, sys.path)):  # by hand: to look a module up imports its package
        package = folder.joinpath(*parts)
        if (package / "__init__.py").is_file():
            return package
        if (found := package.with_suffix(".py")).is_file():
            return found
        if package.is_dir() and modules_in(package):
            return package
    raise ConfigurationError(f"there is no module {module!r} here: name one, or its file")
