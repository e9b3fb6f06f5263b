"""What runs in the background: promote, rescue, expire, prune, sweep, and what recurs.

One short transaction a batch. Any server process may run any of it; jobs that another transaction holds
are skipped, so that two at once do no harm. `tick` runs what is due and takes each duty's turn by a
conditional UPDATE.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from outsourced.sql import files, recurring, retention
from outsourced.sql.bookkeeping import Duty, Installation
from outsourced.sql.dialects import Batch, Moved
from outsourced.states import Reason

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend

#: jobs moved by one transaction of a duty
BATCH = 500
#: no server ran for this many intervals of `rescue`, and this long at least: live leases are extended first
GAP_INTERVALS, GAP_AT_LEAST = 3, timedelta(seconds=30)

ACTOR = "janitor"


def promote(backend: SqlBackend) -> int:
    """Makes scheduled and retrying jobs whose time has come claimable."""
    # jobs_due
    return _sweep(backend, "promote", "runs_at <= {now}")


def rescue(backend: SqlBackend) -> int:
    """Takes lapsed leases back, and jobs that are stuck; a begun job spends a loss."""
    # jobs_leased, both: for the second one all that are leased are looked at
    lapsed = _sweep(backend, "take_back", "lease_until < {now}", i_reason=Reason.LAPSED)
    stuck = "lease_until IS NOT NULL AND stuck_after IS NOT NULL"
    return lapsed + _sweep(backend, "take_stuck", stuck, i_reason=Reason.STUCK)


def expire(backend: SqlBackend) -> int:
    """Ends jobs that were not begun before their `expires_at`."""
    # jobs_expiry
    return _sweep(backend, "expire", "expires_at <= {now} AND ended_at IS NULL")


def _sweep(backend: SqlBackend, move: str, condition: str, **parameters: Any) -> int:
    database = backend.database
    total = 0
    while True:

        def work(batch: Batch) -> Moved:
            return database.dialect.sweep(batch, move, condition, {"actor": ACTOR, **parameters}, limit=BATCH)

        moved = database.run(work)
        backend.notify_of(moved)
        number = len(list(moved.jobs))
        total += number
        if number < BATCH:
            return total


#: duty → (its verb, how often)
DUTIES: dict[str, tuple[Callable[[SqlBackend], int], timedelta]] = {
    "promote": (promote, timedelta(seconds=0.5)),
    "rescue": (rescue, timedelta(seconds=5)),
    "expire": (expire, timedelta(seconds=5)),
    "prune": (retention.prune_for_a_turn, timedelta(seconds=10)),
    "sweep": (files.sweep, timedelta(minutes=1)),
}


def tick(backend: SqlBackend, intervals: dict[str, timedelta] | None = None) -> dict[str, int]:
    """Runs the duties whose turn has come and nobody else took; gives how much each did."""
    done = {}
    for name, (duty, interval) in DUTIES.items():
        interval = (intervals or {}).get(name, interval)
        if _takes_turn(backend, name, interval):
            if name == "rescue":
                _mind_the_gap(backend, max(GAP_AT_LEAST, GAP_INTERVALS * interval))
            done[name] = duty(backend)
    if ticks := recurring.tick(backend):
        done["schedule"] = ticks
    return done


def _takes_turn(backend: SqlBackend, name: str, interval: timedelta) -> bool:
    with backend.database.connect() as connection:
        now = backend.database.now(connection)
        ran_at = connection.scalar(select(Duty.ran_at).where(Duty.name == name))
    if ran_at is not None and ran_at > now - interval:
        return False

    def work(connection: Connection) -> bool:
        if ran_at is None:
            connection.execute(insert(Duty).values(name=name, ran_at=now, seconds=interval.total_seconds()))
            return True
        mine = update(Duty).where(Duty.name == name, Duty.ran_at == ran_at).values(ran_at=now)
        return connection.execute(mine).rowcount == 1

    try:
        return backend.database.write(work)
    except IntegrityError:
        return False  # another process was first


def _mind_the_gap(backend: SqlBackend, gap: timedelta) -> None:
    """Stamps that a server runs; after a gap in which none did, gives every live lease one TTL more."""

    def work(connection: Connection) -> None:
        now = backend.database.now(connection)
        alive_at = connection.scalar(select(Installation.alive_at).where(Installation.id == 1))
        stamp: dict[str, datetime] = {"alive_at": now}
        if alive_at is not None and alive_at < now - gap:
            stamp["resumed_at"] = now
            batch = backend.database.batch(connection)
            batch.execute(
                f"UPDATE outsourced_jobs SET lease_until = {batch.after(backend.lease_ttl.total_seconds())}"
                " WHERE lease_until IS NOT NULL"
            )
        connection.execute(update(Installation).where(Installation.id == 1).values(**stamp))

    backend.database.write(work)
