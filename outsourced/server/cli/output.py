"""What commands print: aligned text that looks the same in a terminal and in a pipe, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

import click

#: what stands where there is nothing
NOTHING = "-"


def print_table(titles: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Prints the rows in aligned columns, or `empty` when there are none."""
    cells = [[shown(value) for value in row] for row in rows]
    if not cells:
        click.echo(empty)
        return
    lines = [list(titles), *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Prints one named fact a line; facts that are None are left out."""
    known = [(name, shown(value)) for name, value in facts if value is not None]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        click.echo(f"{name.ljust(width)}  {_indented(value, width + 2)}")


def print_json(value: Any) -> None:
    """Prints records, and lists of them, as JSON."""
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """The value in JSON's types; moments in ISO 8601, ids as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(member) for member in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def shown(value: Any) -> str:
    """The value as a table shows it."""
    if value is None or value == "" or value == ():
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def _indented(text: str, by: int) -> str:
    return text.rstrip("\n").replace("\n", "\n" + " " * by)
