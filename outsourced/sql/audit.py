"""What people did: written in the act's own transaction, never changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, insert, select

from outsourced.shown import AuditEntry
from outsourced.sql.bookkeeping import Audit
from outsourced.sql.database import Database


def record(
    connection: Connection, *, at: datetime, actor: str, act: str, subject: str, **details: Any
) -> None:
    """Notes the act; `subject` is the name of the worker or queue it is about."""
    connection.execute(
        insert(Audit).values(
            at=at, actor=actor, act=act, subject=subject, details=orjson.dumps(details).decode()
        )
    )


def entries(database: Database, *, subject: str | None = None, limit: int = 50) -> list[AuditEntry]:
    """The latest acts, newest first; of one worker or queue when `subject` names it."""
    query = select(Audit.at, Audit.actor, Audit.act, Audit.subject, Audit.details)
    if subject is not None:
        query = query.where(Audit.subject == subject)
    with database.connect() as connection:
        rows = connection.execute(query.order_by(Audit.id.desc()).limit(limit)).all()
    return [
        AuditEntry(at=at, actor=actor, act=act, subject=about, details=orjson.loads(details))
        for at, actor, act, about, details in rows
    ]
