"""What tasks say of themselves while they run: kept beside the job, fenced by the lease.

What ends a job, or has it tried again, need not look here: what is kept belongs to one lease, and is shown
while the job is working under it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, select

from outsourced.records import Progress, Told, WorkerIdentity
from outsourced.sql.dialects import Batch
from outsourced.sql.models import JobProgress

# by key; of two requests on their way the one that was said first may come last
_NOTE = """
INSERT INTO outsourced_progress (job_id, lease_id, number, state, meta)
SELECT id, lease_id, {number}, {state}, {meta} FROM outsourced_jobs
WHERE id = {job_id} AND lease_id = {lease_id} AND worker_id = {worker_id}
  AND state IN ('assigned', 'working')
ON CONFLICT (job_id) DO UPDATE SET
  lease_id = excluded.lease_id, number = excluded.number, state = excluded.state, meta = excluded.meta
WHERE outsourced_progress.lease_id <> excluded.lease_id OR outsourced_progress.number < excluded.number
"""


def note(batch: Batch, worker: WorkerIdentity, told: Iterable[Told]) -> None:
    """Keeps what is told under leases that the worker holds; anything else comes too late, and is dropped."""
    for one in told:
        values: dict[str, Any] = {
            "number": one.number,
            "state": one.progress.state,
            "meta": one.progress.meta,
            "job_id": one.job_id,
            "lease_id": one.lease_id,
            "worker_id": worker.id,
        }
        batch.execute(_NOTE.format(**{name: batch.parameter(name) for name in values}), values)


def under(connection: Connection, job: Any) -> Progress | None:
    """What the task of a working job has said under the job's lease."""
    # by key
    of_lease = (JobProgress.job_id == job.id, JobProgress.lease_id == job.lease_id)
    row = connection.execute(select(JobProgress.state, JobProgress.meta).where(*of_lease)).one_or_none()
    return None if row is None else Progress(state=row.state, meta=row.meta)
