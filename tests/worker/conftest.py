"""Workers in threads of the test, against the fake server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from uuid import uuid4

import pytest

from outsourced.records import Instance
from outsourced_worker.bell import Bell
from outsourced_worker.ledger import Ledger
from outsourced_worker.loader import load_tasks
from outsourced_worker.pools.base import Pool
from outsourced_worker.pools.processes import ProcessPool
from outsourced_worker.pools.solo import SoloPool
from outsourced_worker.pools.threads import ThreadPool
from outsourced_worker.worker import Worker
from tests.worker.fakeserver import FakeServer

TASKS = ("tests.worker.tasks",)


def make_worker(server: FakeServer, pool: str, *, slots: int = 2, burst: bool = False) -> Worker:
    """A worker of the fake server."""
    registry = load_tasks(TASKS)

    def make_pool(ledger: Ledger, bell: Bell) -> Pool:
        if pool == "solo":
            return SoloPool(registry, server, report=ledger.report, on_idle=bell.ring)
        if pool == "threads":
            return ThreadPool(slots, registry, server, report=ledger.report, on_idle=bell.ring)
        return ProcessPool(
            slots, TASKS, FakeServer, report=ledger.report, on_idle=bell.ring, times=ledger.times
        )

    return Worker(
        server,
        make_pool,
        instance=Instance(id=uuid4(), host="here", pid=1, version="1"),
        tasks=("noop",),
        poll_wait=5,
        burst=burst,
    )


class Running:
    """A worker at work in a thread."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.code = self.worker.work()

    def stop(self) -> None:
        self.worker.stop()

    def join(self, timeout: float = 20) -> int | None:
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "the worker did not end"
        return self.code


Start = Callable[..., AbstractContextManager[Running]]


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def start(server: FakeServer) -> Start:
    @contextmanager
    def starting(pool: str, **options: int) -> Iterator[Running]:
        running = Running(make_worker(server, pool, **options))
        try:
            yield running
        finally:
            if running.code is None:
                running.stop()
                server.change(down=False, locked=False)
            running.join()

    return starting
