"""`outsourced_worker --check`: whether this worker could work, and what it found."""

from __future__ import annotations

from collections.abc import Iterator

from outsourced.payload import loads
from outsourced.registry import Registry
from outsourced_worker.assembly import Connect
from outsourced_worker.config import WorkerConfig


def describe_setup(config: WorkerConfig, registry: Registry) -> Iterator[str]:
    """Lines about configuration and tasks, without asking the server."""
    slots = 1 if config.pool == "solo" else config.concurrency
    yield f"worker   {config.worker}, key {config.key_id}"
    yield f"pool     {config.pool}, {slots} slot{'s' if slots > 1 else ''}"
    yield f"tasks    {', '.join(sorted(registry))}"


def describe_server(config: WorkerConfig) -> Iterator[str]:
    """Lines about what the server says to us; raises the errors of the transport."""
    transport = Connect(config).transport()
    try:
        me = loads(transport.get("/v1/worker"))
        skew = transport.clock_skew
    finally:
        transport.close()
    hire = f"none: hire it with `flask outsourcer worker hire {config.worker} QUEUE`"
    yield f"server   {config.url} knows this worker as {me['worker']}"
    yield f"state    {me['state']}{', paused' if me.get('paused') else ''}"
    yield f"queues   {', '.join(me['queues']) or hire}"
    if skew:
        yield f"clock    {-skew:+.0f} s off the server's, which is allowed for; set it right"
