"""The one row that tells this deployment from every other: its id, its address, its signing key."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import Connection, insert, select, update

from outsourced.errors import ConfigurationError
from outsourced.sql import audit
from outsourced.sql.bookkeeping import Installation
from outsourced.sql.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationFacts:
    """What `init` stored."""

    uuid: UUID
    url: str | None
    signing_key: str | None = field(repr=False)  #: encrypted under the app's SECRET_KEY
    created_at: datetime
    alive_at: datetime | None


def initialise(
    database: Database, *, url: str | None, signing_key: str | None, actor: str = "admin"
) -> InstallationFacts:
    """Stores what is not there yet; a `url` given replaces the stored one, a signing key never does."""

    def work(connection: Connection) -> InstallationFacts:
        _make_row(database, connection, actor)
        stored = find_in(connection)
        assert stored is not None
        changes = {}
        if url is not None and url != stored.url:
            changes["url"] = url
            at = database.now(connection)
            audit.record(
                connection, at=at, actor=actor, act="installation.url", subject="installation", url=url
            )
        if signing_key is not None and stored.signing_key is None:
            changes["signing_key"] = signing_key
        if changes:
            connection.execute(update(Installation).values(**changes))
        return find_in(connection) or stored

    return database.write(work)


def read(database: Database) -> InstallationFacts:
    """What `init` stored; raises ConfigurationError before that, SchemaOutdated without tables."""
    with database.connect() as connection:
        found = find_in(connection)
    if found is None:
        raise ConfigurationError("this installation is not set up yet: run `flask outsourcer init https://…`")
    return found


def find(database: Database) -> InstallationFacts | None:
    """What `init` stored; None before that."""
    with database.connect() as connection:
        return find_in(connection)


def _make_row(database: Database, connection: Connection, actor: str) -> None:
    # of two that initialise at once, the second waits here, and then finds the row
    database.dialect.lock_worker(connection, 0)
    if find_in(connection) is None:
        at = database.now(connection)
        connection.execute(insert(Installation).values(id=1, uuid=uuid4(), created_at=at))
        audit.record(connection, at=at, actor=actor, act="installation.create", subject="installation")


def find_in(connection: Connection) -> InstallationFacts | None:
    """Likewise, in the caller's transaction."""
    row = connection.execute(
        select(
            Installation.uuid,
            Installation.url,
            Installation.signing_key,
            Installation.created_at,
            Installation.alive_at,
        )
    ).one_or_none()
    return None if row is None else InstallationFacts(**row._mapping)
