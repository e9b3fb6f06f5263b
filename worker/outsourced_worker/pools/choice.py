"""The kinds of pools there are, by the name one types."""

from __future__ import annotations

from typing import Literal, get_args

from outsourced_worker.bell import Bell
from outsourced_worker.ledger import Ledger
from outsourced_worker.pools.base import Bench, Equip, Pool
from outsourced_worker.pools.child import Lifespan
from outsourced_worker.pools.processes import NEVER, ProcessPool
from outsourced_worker.pools.solo import SoloPool
from outsourced_worker.pools.threads import ThreadPool

PoolName = Literal["processes", "threads", "solo"]

POOLS: tuple[PoolName, ...] = get_args(PoolName)


def make_pool(
    name: PoolName,
    slots: int,
    *,
    bench: Bench,
    equip: Equip,
    ledger: Ledger,
    bell: Bell,
    lifespan: Lifespan = NEVER,
) -> Pool:
    """A pool that reports to the ledger: slots in this process share `bench`, others `equip` themselves.

    `lifespan` is that of slot processes.
    """
    report, on_idle = ledger.report, bell.ring
    match name:
        case "solo":
            return SoloPool(bench, report=report, on_idle=on_idle)
        case "threads":
            return ThreadPool(slots, bench, report=report, on_idle=on_idle)
        case "processes":
            return ProcessPool(
                slots, equip, report=report, on_idle=on_idle, times=ledger.times, lifespan=lifespan
            )
