"""Files of jobs: rows here, bytes in storage. A row exists only after its bytes are safe."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import UUID

from sqlalchemy import Connection, delete, insert, select

from outsourced import clock
from outsourced.errors import BackendError, BackendUnavailable, ConfigurationError, NotFound, OutsourcedError
from outsourced.records import NewJob, StoredFile, WorkerIdentity
from outsourced.sql import storage_mark
from outsourced.sql.dialects import Batch
from outsourced.sql.leases import leased_job
from outsourced.sql.models import JobFile
from outsourced.storage.base import PARTS

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend
    from outsourced.storage import Storage, Stored

log = logging.getLogger(__name__)

#: bytes this old that no row knows are swept
SWEPT_AFTER = timedelta(days=1)

_COLUMNS = ("job_id", "kind", "name", "key", "size", "sha256", "content_type", "lease_id")


@contextmanager
def stored_attachments(
    storage: Storage | None, jobs: Sequence[NewJob], *, limit: int | None
) -> Iterator[list[dict[str, Any]]]:
    """Stores the attachments of `jobs`; gives their rows, and deletes the bytes if the block surely failed.

    Raises TooLarge for one above `limit` bytes.
    """
    rows: list[dict[str, Any]] = []
    try:
        for job in jobs:
            if job.attachment is not None:
                rows.append(_stored(storage, job, limit=limit))
        yield rows
    except BackendError:
        raise  # the rows may be there all the same; if they are not, the sweep takes the bytes
    except Exception:
        for row in rows:
            assert storage is not None
            storage.delete(row["key"])
        raise


def _stored(storage: Storage | None, job: NewJob, *, limit: int | None) -> dict[str, Any]:
    assert job.attachment is not None
    with job.attachment.open() as stream:
        stored = needed(storage).store(stream, limit=limit)
    return {
        "job_id": job.id,
        "kind": "attachment",
        "name": job.attachment.filename,
        "key": stored.key,
        "size": stored.size,
        "sha256": stored.sha256,
        "content_type": job.attachment.content_type,
        "lease_id": None,
    }


@contextmanager
def forgotten_if_refused(storage: Storage, stored: Stored) -> Iterator[None]:
    """Deletes the bytes again if the block, which adds their row, surely failed."""
    try:
        yield
    except BackendError:
        raise  # the row may be there all the same; if it is not, the sweep takes the bytes
    except OutsourcedError:
        storage.delete(stored.key)
        raise


def insert_attachments(batch: Batch, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds the rows inside the transaction that stores their jobs."""
    for row in rows:
        values = ", ".join(batch.parameter(column) for column in _COLUMNS)
        batch.execute(
            f"INSERT INTO outsourced_files ({', '.join(_COLUMNS)}, created_at)"
            f" VALUES ({values}, {batch.now})",
            row,
        )


def attachment(backend: SqlBackend, worker: WorkerIdentity, lease_id: UUID) -> tuple[StoredFile, UUID]:
    """The attachment of the job under this lease, and the key of its bytes."""
    with backend.database.connect() as connection:
        job_id = leased_job(connection, worker, lease_id)
        row = connection.execute(
            select(JobFile).where(JobFile.job_id == job_id, JobFile.kind == "attachment")
        ).one_or_none()
    if row is None:
        raise NotFound("this job has no attachment")
    return _record(row), row.key


def require_lease(backend: SqlBackend, worker: WorkerIdentity, lease_id: UUID) -> None:
    """Raises LeaseLost or NotFound unless the worker holds this lease now."""
    with backend.database.connect() as connection:
        leased_job(connection, worker, lease_id)


def save(
    backend: SqlBackend,
    worker: WorkerIdentity,
    lease_id: UUID,
    *,
    name: str,
    key: UUID,
    size: int,
    sha256: str,
    content_type: str,
) -> StoredFile:
    """Adds the row of a result file whose bytes are stored under `key`.

    A name saved before is replaced, and its old bytes deleted; the same file again keeps the old row.
    """
    replaced: list[UUID] = []

    def write(connection: Connection) -> StoredFile:
        replaced.clear()
        job_id = leased_job(connection, worker, lease_id)
        mine = (JobFile.job_id == job_id, JobFile.kind == "result", JobFile.name == name)
        old = connection.execute(select(JobFile).where(*mine)).one_or_none()
        if old is not None:
            if old.sha256 == sha256 and old.lease_id == lease_id:
                replaced.append(key)
                return _record(old)
            replaced.append(old.key)
            connection.execute(delete(JobFile).where(*mine))
        connection.execute(
            insert(JobFile).values(
                job_id=job_id,
                kind="result",
                name=name,
                key=key,
                size=size,
                sha256=sha256,
                content_type=content_type,
                lease_id=lease_id,
                created_at=backend.database.now(connection),
            )
        )
        return StoredFile(name=name, size=size, sha256=sha256, content_type=content_type)

    saved = backend.database.write(write)
    for stale in replaced:
        assert backend.storage is not None
        backend.storage.delete(stale)
    return saved


def sweep(backend: SqlBackend) -> int:
    """Deletes bytes that no row knows, what a crash between storing and committing left behind, of one part.

    Which part, the time says: all of them within a few hours, however many processes take turns.
    """
    minute = clock.now().timestamp() / 60
    return sweep_part(backend, int(minute) % PARTS)


def sweep_part(backend: SqlBackend, part: int) -> int:
    """Likewise, of this part; of none in a storage that is not ours."""
    if backend.storage is None:
        return 0
    try:
        storage_mark.settle(backend)
        return _sweep(backend, backend.storage, part)
    except BackendUnavailable as error:  # a storage that is away must not keep other duties from being done
        log.warning("no stored files are swept: %s", error)
        return 0


def _sweep(backend: SqlBackend, storage: Storage, part: int) -> int:

    def known(keys: Collection[UUID]) -> Collection[UUID]:
        with backend.database.connect() as connection:
            return set(connection.scalars(select(JobFile.key).where(JobFile.key.in_(keys))))

    return storage.sweep(part, older_than=SWEPT_AFTER, known=known)


def open_bytes(backend: SqlBackend, key: UUID) -> BinaryIO:
    """A stream of stored bytes; raises StorageMismatch or NotFound where there are none."""
    storage = needed(backend.storage)
    try:
        return storage.open(key)
    except NotFound:
        storage_mark.require(backend)
        raise


def needed(storage: Storage | None) -> Storage:
    """The storage; raises ConfigurationError where there is none."""
    if storage is None:
        raise ConfigurationError("files need OUTSOURCED_STORAGE: a place for their bytes")
    return storage


def of_job(connection: Connection, job_id: UUID) -> tuple[StoredFile, ...]:
    """The result files of a job, by name."""
    rows = connection.execute(
        select(JobFile).where(JobFile.job_id == job_id, JobFile.kind == "result").order_by(JobFile.name)
    )
    return tuple(_record(row) for row in rows)


def result(backend: SqlBackend, job_id: UUID, name: str) -> tuple[StoredFile, UUID]:
    """A file the job's task saved, and the key of its bytes; raises NotFound."""
    with backend.database.connect() as connection:
        row = connection.execute(
            select(JobFile).where(JobFile.job_id == job_id, JobFile.kind == "result", JobFile.name == name)
        ).one_or_none()
    if row is None:
        raise NotFound(f"the job saved no file {name!r}", job_id=str(job_id))
    return _record(row), row.key


def _record(row: Any) -> StoredFile:
    return StoredFile(name=row.name, size=row.size, sha256=row.sha256, content_type=row.content_type)
