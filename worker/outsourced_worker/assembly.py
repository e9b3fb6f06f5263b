"""Puts a worker together from its configuration."""

from __future__ import annotations

from dataclasses import dataclass

from outsourced.http.backend import HttpConsumer
from outsourced.http.token import KeyProof
from outsourced.http.transport import Transport
from outsourced.registry import Registry
from outsourced_worker.bell import Bell
from outsourced_worker.config import WorkerConfig
from outsourced_worker.equipment import Equipment
from outsourced_worker.instance import this_instance
from outsourced_worker.ledger import Ledger
from outsourced_worker.logs import Logs
from outsourced_worker.pools.base import Bench, Pool
from outsourced_worker.pools.child import Lifespan
from outsourced_worker.pools.choice import make_pool
from outsourced_worker.worker import Worker


@dataclass(frozen=True, slots=True)
class Connect:
    """Makes a connection to the server; picklable, so that each slot process makes its own."""

    config: WorkerConfig

    def __call__(self) -> HttpConsumer:
        return HttpConsumer(self.transport())

    def transport(self) -> Transport:
        config = self.config
        return Transport(
            config.url,
            client_id=config.worker,
            proof=KeyProof(key_id=config.key_id, private_key=config.private_key, audience=config.audience),
            ca_bundle=config.ca_bundle,
            proxy=config.proxy,
            method_override=config.method_override,
        )


def make_worker(config: WorkerConfig, registry: Registry, logs: Logs, *, burst: bool) -> Worker:
    """A worker, ready to run."""
    connect = Connect(config)
    consumer = connect()

    def make(ledger: Ledger, bell: Bell) -> Pool:
        return make_pool(
            config.pool,
            config.concurrency,
            bench=Bench(registry, consumer),
            equip=Equipment(config.include, connect, logs),
            ledger=ledger,
            bell=bell,
            lifespan=Lifespan(max_tasks=config.max_tasks_per_child, max_memory=config.max_memory_per_child),
        )

    return Worker(
        consumer,
        make,
        instance=this_instance(config.instance_name),
        tasks=registry.runnable(),
        poll_wait=config.poll_wait,
        burst=burst,
    )
