"""A recorder of the statements a database really runs, and what they write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

from sqlalchemy import Engine

from outsourced.sql.database import Database
from outsourced.sql.dialects import postgresql, sqlite
from tests.sql.interleaving import traced

_UPDATES_STATE = re.compile(r"\bUPDATE\s+(ONLY\s+)?\"?outsourced_jobs\b.*[\s,(\"]state\"?\s*=", re.I | re.S)
_INSERTS_JOB = re.compile(r"\b(INSERT|REPLACE)\s+(OR\s+\w+\s+)?INTO\s+\"?outsourced_jobs\b", re.I)


def writes_state(statement: str) -> bool:
    """Whether the statement sets a job's state: rather too often than not often enough."""
    return bool(_UPDATES_STATE.search(statement) or _INSERTS_JOB.search(statement))


@contextmanager
def recorded(*engines: Engine) -> Iterator[list[str]]:
    """The statements that run inside the block, as the driver gets them."""
    statements: list[str] = []
    with ExitStack() as stack:
        for engine in engines:
            stack.enter_context(traced(engine, statements.append))
        yield statements


def move_of(database: Database, statement: str) -> str | None:
    """The move that the statement is, if it is one of `lifecycle`; `enqueue` for the one that stores jobs."""
    known = _sqlite_statements() if database.dialect.name == "sqlite" else _postgresql_statements()
    normal = _without_offset(statement)
    return next((name for name, pattern in known.items() if pattern.search(normal)), None)


#: a value in the place of a parameter, as SQLite's trace shows it
_VALUE = r"(?:NULL|-?[\d.]+(?:e[+-]?\d+)?|'(?:[^']|'')*')"


@cache
def _sqlite_statements() -> dict[str, re.Pattern[str]]:
    updates = {name: sqlite.moves._statements(name)[1] for name in sqlite.moves.all_moves()}
    updates["enqueue"] = sqlite.enqueue._JOB
    return {
        name: re.compile(rf"\A\s*{re.sub(r':[a-z_]+', lambda _: _VALUE, re.escape(update.strip()))}\s*\Z")
        for name, update in updates.items()
    }


@cache
def _postgresql_statements() -> dict[str, re.Pattern[str]]:
    """What follows the picking of rows, which differs between claim, sweep and single moves."""
    now = "clock_timestamp()"
    moves = postgresql.moves.moves_at(now)
    pickless = {
        name: postgresql.moves.statement(move, now, pick="?", tail="?") for name, move in moves.items()
    }
    parts = {name: text.partition("AS MATERIALIZED (?), ")[2].rstrip("? ") for name, text in pickless.items()}
    known = {name: re.compile(re.escape(part)) for name, part in parts.items()}
    enqueueing = (postgresql.enqueue.insert_statement(now), postgresql.enqueue.repeat_statement(now))
    known["enqueue"] = re.compile("|".join(re.escape(statement.strip()) for statement in enqueueing))
    return known


def _without_offset(statement: str) -> str:
    """The statement as it is when a test has not moved the database's clock."""
    return re.sub(
        r"\(clock_timestamp\(\) \+ make_interval\(secs => [-\d.e]+\)\)", "clock_timestamp()", statement
    )
