"""Whether this host's storage is the one the rows of files speak of: one mark, in it and in the database.

Two hosts that share a database and no storage, a mount that is missing, a storage that another
installation uses: each would lose files, and only once somebody asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from sqlalchemy import Connection, select, update

from outsourced.errors import BackendUnavailable, StorageMismatch
from outsourced.sql import audit
from outsourced.sql.bookkeeping import Installation

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend
    from outsourced.storage import Storage


def settle(backend: SqlBackend) -> None:
    """Marks the storage once it has files, if none is marked yet; raises StorageMismatch if another is.

    Nothing is written for an installation without files, nor into a storage that others have files in.
    """
    storage, mark = _storage(backend), uuid4()
    # of two hosts that are first, one is; the other then finds that its storage is another
    if _known(backend) is None and _may_be_marked(storage) and _replace(backend, None, mark):
        try:
            storage.write_mark(str(mark))
        except BackendUnavailable:
            _replace(backend, mark, None)
            raise
    require(backend)


def require(backend: SqlBackend) -> None:
    """Raises StorageMismatch unless the storage has this installation's mark, or it has marked none yet."""
    known, found = _known(backend), _storage(backend).read_mark()
    if found != (None if known is None else str(known)):
        raise StorageMismatch(_explain(found))


def adopt(backend: SqlBackend, *, actor: str) -> None:
    """Makes this host's storage the installation's, whosever it was and whatever is in it."""
    mark = uuid4()
    _storage(backend).write_mark(str(mark))

    def work(connection: Connection) -> None:
        at = backend.database.now(connection)
        connection.execute(update(Installation).values(storage_id=mark))
        audit.record(connection, at=at, actor=actor, act="installation.storage", subject="installation")

    backend.database.write(work)


def _may_be_marked(storage: Storage) -> bool:
    if storage.read_mark() is None:
        return not storage.is_empty()
    return storage.is_empty()  # of an installation that is gone, and left nothing behind


def _replace(backend: SqlBackend, old: UUID | None, new: UUID | None) -> bool:
    """Whether it was `old` that the database knew, and `new` is what it knows now."""
    change = update(Installation).where(Installation.storage_id.is_not_distinct_from(old))
    return backend.database.write(
        lambda connection: connection.execute(change.values(storage_id=new)).rowcount == 1
    )


def _known(backend: SqlBackend) -> UUID | None:
    with backend.database.connect() as connection:
        known: UUID | None = connection.scalar(select(Installation.storage_id))
        return known


def _storage(backend: SqlBackend) -> Storage:
    assert backend.storage is not None  # asked by servers, which always have one
    return backend.storage


def _explain(found: str | None) -> str:
    fault = "has no mark of this installation" if found is None else "is another installation's"
    return (
        f"this host's storage of files {fault}: OUTSOURCED_STORAGE must be one place for all hosts of an "
        "installation, and for no other (a file system they all mount, or s3://…). If it is the right place "
        "from now on, run `flask outsourcer init --adopt-storage` on this host"
    )
