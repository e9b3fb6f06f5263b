"""What is there for a parked worker to wake for, asked without claiming: for where no word of it came.

Reads only. Each statement is cheap however many jobs wait: it looks into each pair (queue, task) that
ever held a job, and counts no further than it is told to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from outsourced.rates import Rate
from outsourced.sql.base import UtcDateTime

# jobs_ready; the state is no parameter, or SQLite would not use the partial index
_CLAIMABLE = text("""
    SELECT queues.name AS queue, tasks.name AS task,
           of_queue.pace AS queue_pace, of_queue.burst AS queue_burst, of_queue.next_at AS queue_next_at,
           of_task.pace AS task_pace, of_task.burst AS task_burst, of_task.next_at AS task_next_at,
           (SELECT count(*) FROM (
               SELECT 1 FROM outsourced_jobs AS jobs
               WHERE jobs.state = 'unassigned'
                 AND jobs.queue_id = pairs.queue_id AND jobs.task_id = pairs.task_id
               LIMIT :counted
           ) AS capped) AS number
    FROM outsourced_queue_tasks AS pairs
    JOIN outsourced_queues AS queues ON queues.id = pairs.queue_id
    JOIN outsourced_tasks AS tasks ON tasks.id = pairs.task_id
    LEFT JOIN outsourced_rates AS of_queue ON of_queue.id = queues.rate_id
    LEFT JOIN outsourced_rates AS of_task ON of_task.id = tasks.rate_id
""").columns(queue_next_at=UtcDateTime(), task_next_at=UtcDateTime())

# jobs_cancelling
_WORD = text("""
    SELECT (SELECT coalesce(max(id), 0) FROM outsourced_audit),
           (SELECT count(*) FROM outsourced_jobs WHERE cancel_requested_at IS NOT NULL AND ended_at IS NULL)
""")


@dataclass(frozen=True, slots=True)
class Claimable:
    """(queue, task) → jobs that may be claimed now; and when a rate limit lets the next one through."""

    ready: dict[tuple[str, str], int]
    opens_in: float | None = None  #: seconds; None: no job waits for a limit


def claimable(connection: Connection, now: Callable[[], datetime], *, counted: int) -> Claimable:
    """The jobs that may be claimed, `counted` of a pair at most; pairs without any are left out."""
    rows = [row for row in connection.execute(_CLAIMABLE, {"counted": counted}) if row.number]
    ready = {(row.queue, row.task): row.number for row in rows}
    limited = [(row, limits) for row in rows if (limits := _limits_of(row))]
    if not limited:
        return Claimable(ready)
    moment, opens = now(), list[float]()
    for row, limits in limited:
        permits = min(rate.permits(next_at, moment) for rate, next_at in limits)
        if permits < row.number:
            opens.append(max(_opens_in(*limit, moment) for limit in limits))
        ready[row.queue, row.task] = min(row.number, permits)
    return Claimable({pair: number for pair, number in ready.items() if number}, min(opens, default=None))


def _opens_in(rate: Rate, next_at: datetime, moment: datetime) -> float:
    """Seconds until there is a permit, or, where there are some, until those are spent and made anew."""
    closed_for = (rate.opens_at(next_at) - moment).total_seconds()
    return closed_for if closed_for > 0 else rate.pace * rate.burst


def _limits_of(row: Any) -> list[tuple[Rate, datetime]]:
    of_queue = (row.queue_pace, row.queue_burst, row.queue_next_at)
    of_task = (row.task_pace, row.task_burst, row.task_next_at)
    return [
        (Rate(pace=pace, burst=burst), next_at)
        for pace, burst, next_at in (of_queue, of_task)
        if pace is not None
    ]


def word(connection: Connection) -> tuple[int, int]:
    """A mark that changes when a person acts, and when a cancel is asked for or carried out."""
    latest_act, open_cancels = connection.execute(_WORD).one()
    return latest_act, open_cancels
