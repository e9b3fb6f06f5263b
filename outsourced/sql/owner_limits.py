"""Limits per owner: how many live jobs a Thing of a type may have, exact at every commit, as queues are.

Producers for one owner pass its gate one after another, and are counted behind it. Ends need no gate;
a repeat takes its job's place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from outsourced.errors import OwnerFull
from outsourced.sql.models import Job
from outsourced.states import LIVE

#: seconds after which a refused producer may hope for room
RETRY_AFTER = 5


@dataclass(frozen=True, slots=True, order=True)
class Asked:
    """How many more jobs an owner is to have, and how many live ones it may have."""

    type: str
    id: str
    limit: int
    jobs: int


def asked_of(limits: Mapping[str, int], rows: Sequence[Mapping[str, Any]]) -> list[Asked]:
    """What these new jobs ask of owners with a limit, in the order of their gates."""
    if not limits:
        return []
    jobs = Counter((row["owner_type"], row["owner_id"]) for row in rows if row["owner_type"] in limits)
    return sorted(Asked(kind, key, limits[kind], number) for (kind, key), number in jobs.items())


def raise_if_over(connection: Connection, asked: Sequence[Asked], *, stored: bool = False) -> None:
    """Raises OwnerFull where an owner would have too many now; `stored`: the jobs are counted already."""
    for one in asked:
        # jobs_owner
        live = select(func.count()).where(
            Job.owner_type == one.type, Job.owner_id == one.id, Job.state.in_(sorted(LIVE))
        )
        used = (connection.scalar(live) or 0) - (one.jobs if stored else 0)
        free = max(0, one.limit - used)
        if free < one.jobs:
            raise OwnerFull(
                f"{one.type} {one.id} has {used} live jobs of the {one.limit} it may have, "
                f"{one.jobs} more asked for",
                owner={"type": one.type, "id": one.id},
                limit=one.limit,
                free=free,
                asked=one.jobs,
                retry_after=RETRY_AFTER,
            )
