"""The processes of workers, as they introduce themselves: written at most every ten seconds each."""

from __future__ import annotations

import time
from collections import OrderedDict
from uuid import UUID

import orjson

from outsourced.records import ExchangeRequest, WorkerIdentity
from outsourced.sql.dialects import Batch

#: seconds between two writes of the same instance by this process
INTERVAL = 10.0
#: instances this process remembers having written
REMEMBERED = 10_000

_COLUMNS = ("id", "worker_id", "host", "pid", "version", "tasks")


class Instances:
    """Keeps `outsourced_instances` fresh without a write at every exchange."""

    def __init__(self) -> None:
        self._written: OrderedDict[UUID, tuple[float, tuple[str, ...]]] = OrderedDict()

    def introduce(self, batch: Batch, worker: WorkerIdentity, request: ExchangeRequest) -> None:
        """Adds or refreshes the instance's row inside the exchange's transaction, if it is time to."""
        instance, now = request.instance, time.monotonic()
        written, tasks = self._written.get(instance.id, (float("-inf"), ()))
        if now - written < INTERVAL and (tasks == request.tasks or not request.tasks):
            return
        self._written[instance.id] = (now, request.tasks or tasks)
        while len(self._written) > REMEMBERED:
            self._written.popitem(last=False)
        values = ", ".join(batch.parameter(column) for column in _COLUMNS)
        batch.execute(
            f"INSERT INTO outsourced_instances ({', '.join(_COLUMNS)}, started_at, seen_at)"
            f" VALUES ({values}, {batch.now}, {batch.now}) ON CONFLICT (id) DO UPDATE"
            " SET seen_at = excluded.seen_at, tasks = excluded.tasks"
            " WHERE outsourced_instances.worker_id = excluded.worker_id",
            {
                "id": instance.id,
                "worker_id": worker.id,
                "host": instance.host,
                "pid": instance.pid,
                "version": instance.version,
                "tasks": orjson.dumps(request.tasks or tasks).decode(),
            },
        )
