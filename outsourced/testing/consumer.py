"""A worker's side of a `MemoryBackend`. Implements `backend.Consumer`."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from outsourced.attachments import write_verified
from outsourced.errors import NotFound
from outsourced.records import ExchangeReply, ExchangeRequest, Lease, StoredFile
from outsourced.testing.exchange import exchange
from outsourced.testing.kept import KeptFile, KeptWorker
from outsourced.testing.producer import TaskProducer
from outsourced.testing.store import Store
from outsourced.wire.headers import check_file_name

#: seconds between two looks of a parked poll at what has become due meanwhile
LOOK = 0.05


class MemoryConsumer:
    """Claims, settles and moves files as a worker of the store."""

    def __init__(self, store: Store, worker: KeptWorker) -> None:
        self._store = store
        self._worker = worker

    def exchange(self, request: ExchangeRequest) -> ExchangeReply:
        polls, instance, poll = self._worker.polls, request.instance.id, object()
        asked_at = time.monotonic()
        deadline = asked_at + request.wait
        with self._store.changed:
            if request.wait:
                polls[instance] = poll  # which ends the one that is parked
                self._store.changed.notify_all()
            reply = exchange(self._store, self._worker, request)
            claim = replace(request, outcomes=(), begun=(), held=None, progress=())
            while not _says_something(reply) and polls.get(instance) is poll:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._store.changed.wait(min(left, LOOK))
                waited = time.monotonic() - asked_at
                reply = exchange(self._store, self._worker, claim).delayed(waited)
            return reply

    def fetch_attachment(self, lease: Lease, target: Path) -> None:
        with self._store.changed:
            file = self._store.leased(self._worker.name, lease.id).attachment
        if file is None:
            raise NotFound("this job has no attachment", job_id=str(lease.job_id))
        write_verified([file.content], target, sha256=file.stored.sha256)

    def save_file(self, lease: Lease, name: str, source: Path, content_type: str) -> StoredFile:
        file = KeptFile.of(source.read_bytes(), name=check_file_name(name), content_type=content_type)
        with self._store.changed:
            self._store.leased(self._worker.name, lease.id).files[name] = file
        return file.stored

    def producer(self, lease: Lease) -> TaskProducer:
        return TaskProducer(self._store, self._worker.name, lease)

    def close(self) -> None:
        """Nothing: there is no connection."""


def _says_something(reply: ExchangeReply) -> bool:
    return bool(reply.leases or reply.settled or reply.commands)
