"""Groups whose results somebody saved, to be restored by another process."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Connection, delete, insert, select

from outsourced.sql.bookkeeping import Group

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend

#: whose groups are those of the server's own processes
SERVER = "server"


def save(backend: SqlBackend, group_id: UUID, members: str, *, scope: str) -> None:
    """Keeps the members, in place of those that were kept."""

    def work(connection: Connection) -> None:
        connection.execute(delete(Group).where(Group.scope == scope, Group.id == group_id))
        now = backend.database.now(connection)
        connection.execute(insert(Group).values(scope=scope, id=group_id, members=members, at=now))

    backend.database.write(work)


def find(backend: SqlBackend, group_id: UUID, *, scope: str) -> str | None:
    """The members as they were saved; None where none are."""
    with backend.database.connect() as connection:
        return connection.scalar(select(Group.members).where(Group.scope == scope, Group.id == group_id))


def forget(backend: SqlBackend, group_id: UUID, *, scope: str) -> None:
    """Keeps the group no longer; its jobs stay."""
    gone = delete(Group).where(Group.scope == scope, Group.id == group_id)
    backend.database.write(lambda connection: connection.execute(gone))
