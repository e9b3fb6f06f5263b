"""The permits of rate limits on SQLite: read and spent under the write lock, by one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from outsourced.rates import Rate
from outsourced.sql.dialects.sqlite.batch import SQLiteBatch
from outsourced.sql.dialects.sqlite.moves import parsed, stored

_IN_FORCE = "SELECT id, pace, burst, next_at FROM outsourced_rates WHERE pace IS NOT NULL"
_STORE = "UPDATE outsourced_rates SET next_at = :next_at WHERE id = :id"


@dataclass(slots=True, eq=False)
class Permits:
    """What a limit allows at this moment, and what was taken of it."""

    id: int
    rate: Rate
    next_at: datetime
    now: datetime
    number: int
    spent: int = 0

    def spend(self) -> None:
        self.spent += 1

    def store(self, batch: SQLiteBatch) -> None:
        """Notes when the jobs begun are paid for."""
        next_at = self.rate.spend(self.spent, self.next_at, self.now)
        batch.execute(_STORE, {"id": self.id, "next_at": stored(next_at)})


def read_permits(batch: SQLiteBatch) -> dict[int, Permits]:
    """What each limit in force allows, by its number."""
    now, found = parsed(batch.moment), {}
    for number, pace, burst, text in batch.execute(_IN_FORCE):
        rate, next_at = Rate(pace=pace, burst=burst), parsed(text)
        found[number] = Permits(number, rate, next_at, now, rate.permits(next_at, now))
    return found
