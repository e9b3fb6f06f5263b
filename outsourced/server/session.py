"""The host's database session, seen from outside: whether it stands in our way, or we in its."""

from __future__ import annotations

from typing import Any

from flask import has_app_context
from sqlalchemy import Connection, Engine

from outsourced.errors import ConfigurationError


def open_connection(db: Any) -> Connection | None:
    """The connection of the transaction that this context's `db.session` is in; None where it is in none."""
    if db is None or not has_app_context() or not db.session.registry.has():
        return None
    session = db.session()
    if not session.in_transaction():
        return None
    connection: Connection = session.connection()
    return connection


def require_no_open_write(db: Any, engine: Engine) -> None:
    """Raises ConfigurationError if this context's `db.session` has written to the SQLite file of `engine`.

    SQLite has one writer a file: our transaction would wait for the session's, and the session for
    our call to return. In memory the two would even be one.
    """
    connection = open_connection(db) if engine.dialect.name == "sqlite" else None
    if connection is None or connection.engine.url.database != engine.url.database:
        return
    driver: Any = connection.connection.dbapi_connection
    if driver.in_transaction:
        raise ConfigurationError(
            "db.session has written to this SQLite file and not committed, and SQLite lets one "
            "transaction write at a time: call db.session.commit() before, or let the job be part "
            "of the transaction, with delay_on_commit() or apply_async(…, session=db.session)"
        )
