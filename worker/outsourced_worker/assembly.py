"""Puts a worker together from its configuration."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from uuid import uuid4

from outsourced.backend import Consumer
from outsourced.http.backend import HttpConsumer
from outsourced.http.token import KeyProof
from outsourced.http.transport import Transport
from outsourced.records import Instance
from outsourced.registry import Registry
from outsourced_worker import installed_version
from outsourced_worker.bell import Bell
from outsourced_worker.config import WorkerConfig
from outsourced_worker.ledger import Ledger
from outsourced_worker.pools.base import Pool
from outsourced_worker.pools.processes import ProcessPool
from outsourced_worker.pools.solo import SoloPool
from outsourced_worker.pools.threads import ThreadPool
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


def this_instance(config: WorkerConfig) -> Instance:
    """How this process introduces itself."""
    host = config.instance_name or socket.gethostname()
    return Instance(id=uuid4(), host=host, pid=os.getpid(), version=installed_version())


def make_worker(config: WorkerConfig, registry: Registry, *, burst: bool) -> Worker:
    """A worker, ready to run."""
    connect = Connect(config)
    consumer = connect()

    def make_pool(ledger: Ledger, bell: Bell) -> Pool:
        return _make_pool(config, registry, consumer, ledger, bell)

    return Worker(
        consumer,
        make_pool,
        instance=this_instance(config),
        tasks=tuple(sorted(registry)),
        poll_wait=config.poll_wait,
        burst=burst,
    )


def _make_pool(
    config: WorkerConfig, registry: Registry, consumer: Consumer, ledger: Ledger, bell: Bell
) -> Pool:
    match config.pool:
        case "solo":
            return SoloPool(registry, consumer, report=ledger.report, on_idle=bell.ring)
        case "threads":
            return ThreadPool(config.concurrency, registry, consumer, report=ledger.report, on_idle=bell.ring)
        case "processes":
            return ProcessPool(
                config.concurrency,
                config.include,
                Connect(config),
                report=ledger.report,
                on_idle=bell.ring,
                times=ledger.times,
            )
