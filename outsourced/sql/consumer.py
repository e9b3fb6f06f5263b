"""`SqlConsumer`: a worker's side of the exchange, straight to the database. Implements `Consumer`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from outsourced.attachments import write_verified
from outsourced.errors import AuthenticationFailed, WorkerLocked
from outsourced.payload import loads
from outsourced.records import ExchangeReply, ExchangeRequest, Lease, StoredFile, WorkerIdentity
from outsourced.sql import workers
from outsourced.sql.backend import SqlBackend
from outsourced.sql.files import forgotten_if_refused, open_bytes
from outsourced.sql.task_producer import TaskProducer
from outsourced.storage.base import CHUNK
from outsourced.wire.headers import check_file_name

Exchange = Callable[[WorkerIdentity, ExchangeRequest], ExchangeReply]
T = TypeVar("T")


class SqlConsumer:
    """Claims, settles and moves files as a worker of this name, by right of having the database.

    `exchange` is the backend's, unless another one is given: the server's knows how to wait.
    """

    def __init__(self, backend: SqlBackend, worker: str, *, exchange: Exchange | None = None) -> None:
        self._backend = backend
        self._worker = worker
        self._exchange = exchange or backend.exchange
        self._identity: WorkerIdentity | None = None

    def exchange(self, request: ExchangeRequest) -> ExchangeReply:
        reply = self._as_worker(lambda worker: self._exchange(worker, request))
        leases = (replace(lease, payload=loads(lease.payload)) for lease in reply.leases)
        return replace(reply, leases=tuple(leases))

    def fetch_attachment(self, lease: Lease, target: Path) -> None:
        file, key = self._as_worker(lambda worker: self._backend.attachment(worker, lease.id))
        with closing(open_bytes(self._backend, key)) as stream:
            write_verified(iter(partial(stream.read, CHUNK), b""), target, sha256=file.sha256)

    def save_file(self, lease: Lease, name: str, source: Path, content_type: str) -> StoredFile:
        backend, storage = self._backend, self._backend.require_storage()
        name = check_file_name(name)
        self._as_worker(lambda worker: backend.require_lease(worker, lease.id))
        with source.open("rb") as stream:
            stored = storage.store(stream, limit=backend.max_attachment)
        with forgotten_if_refused(storage, stored):
            return self._as_worker(
                lambda worker: backend.save_file(
                    worker,
                    lease.id,
                    name,
                    key=stored.key,
                    size=stored.size,
                    sha256=stored.sha256,
                    content_type=content_type,
                )
            )

    def producer(self, lease: Lease) -> TaskProducer:
        return TaskProducer(self._backend, self._as_worker(lambda worker: worker), lease)

    def close(self) -> None:
        """Nothing: the connections are the backend's."""

    def _as_worker(self, act: Callable[[WorkerIdentity], T]) -> T:
        """What `act` gives as the worker; once more where its credentials were reset, which we need not."""
        identity = self._identity or self._read_identity()
        try:
            return act(identity)
        except WorkerLocked:
            raise
        except AuthenticationFailed:
            fresh = self._read_identity()
            if fresh == identity:
                raise
        return act(fresh)

    def _read_identity(self) -> WorkerIdentity:
        self._identity = workers.identity(self._backend.database, self._worker)
        if self._identity is None:
            raise AuthenticationFailed(f"there is no worker {self._worker!r} any more: it was destroyed")
        return self._identity
