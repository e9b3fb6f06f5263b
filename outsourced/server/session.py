"""The host's database session, seen from outside: whether it stands in the way of a write of ours."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from outsourced.errors import ConfigurationError


def require_no_open_write(db: Any, engine: Engine) -> None:
    """Raises ConfigurationError if this context's `db.session` has written to the SQLite file of `engine`.

    SQLite has one writer a file: our transaction would wait for the session's, and the session for
    our call to return.
    """
    if engine.dialect.name != "sqlite" or not db.session.registry.has():
        return
    session = db.session()
    if not session.in_transaction():
        return
    connection = session.connection()
    same_file = connection.engine.url.database == engine.url.database
    if same_file and connection.connection.dbapi_connection.in_transaction:
        raise ConfigurationError(
            "db.session has written to this SQLite file and not committed, and SQLite lets one "
            "transaction write at a time: call db.session.commit() before you enqueue, or let the job be "
            "part of the transaction, with delay_on_commit() or apply_async(…, session=db.session)"
        )
