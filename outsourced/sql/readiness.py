"""What is there for a parked worker to wake for, asked without claiming: for where no word of it came.

Reads only. Each statement is cheap however many jobs wait: it looks into each pair (queue, task) that
ever held a job, and counts no further than it is told to.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

# jobs_ready; the state is no parameter, or SQLite would not use the partial index
_CLAIMABLE = text("""
    SELECT queues.name, tasks.name,
           (SELECT count(*) FROM (
               SELECT 1 FROM outsourced_jobs AS jobs
               WHERE jobs.state = 'unassigned'
                 AND jobs.queue_id = pairs.queue_id AND jobs.task_id = pairs.task_id
               LIMIT :counted
           ) AS capped)
    FROM outsourced_queue_tasks AS pairs
    JOIN outsourced_queues AS queues ON queues.id = pairs.queue_id
    JOIN outsourced_tasks AS tasks ON tasks.id = pairs.task_id
""")

# jobs_cancelling
_WORD = text("""
    SELECT (SELECT coalesce(max(id), 0) FROM outsourced_audit),
           (SELECT count(*) FROM outsourced_jobs WHERE cancel_requested_at IS NOT NULL AND ended_at IS NULL)
""")


def claimable(connection: Connection, *, counted: int) -> dict[tuple[str, str], int]:
    """(queue, task) → jobs that may be claimed now, `counted` at most; pairs without any are left out."""
    rows = connection.execute(_CLAIMABLE, {"counted": counted})
    return {(queue, task): number for queue, task, number in rows if number}


def word(connection: Connection) -> tuple[int, int]:
    """A mark that changes when a person acts, and when a cancel is asked for or carried out."""
    latest_act, open_cancels = connection.execute(_WORD).one()
    return latest_act, open_cancels
