"""Workers in threads of the test, against the fake server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from uuid import uuid4

import pytest

from outsourced.records import Instance
from outsourced_worker.bell import Bell
from outsourced_worker.equipment import Equipment
from outsourced_worker.ledger import Ledger
from outsourced_worker.loader import load_tasks
from outsourced_worker.pools.base import Bench, Pool
from outsourced_worker.pools.child import Lifespan
from outsourced_worker.pools.choice import PoolName, make_pool
from outsourced_worker.pools.processes import NEVER
from outsourced_worker.worker import Worker
from tests.worker.fakeserver import FakeServer

TASKS = ("tests.worker.tasks",)


def make_worker(
    server: FakeServer, pool: PoolName, *, slots: int = 2, burst: bool = False, lifespan: Lifespan = NEVER
) -> Worker:
    """A worker of the fake server."""
    registry = load_tasks(TASKS)

    def make(ledger: Ledger, bell: Bell) -> Pool:
        bench, equip = Bench(registry, server), Equipment(TASKS, FakeServer)
        return make_pool(pool, slots, bench=bench, equip=equip, ledger=ledger, bell=bell, lifespan=lifespan)

    return Worker(
        server,
        make,
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
    def starting(pool: PoolName, **options: int) -> Iterator[Running]:
        running = Running(make_worker(server, pool, **options))
        try:
            yield running
        finally:
            if running.code is None:
                running.stop()
                server.change(down=False, locked=False)
            running.join()

    return starting
