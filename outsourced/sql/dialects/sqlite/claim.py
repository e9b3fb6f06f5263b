"""The claim on SQLite: the first jobs of each pair, merged, then moved one by one."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import orjson

from outsourced.payload import loads
from outsourced.sql.dialects import Batch
from outsourced.sql.dialects.sqlite.moves import move_job

_PAIRS = """
SELECT qt.queue_id, qt.task_id
FROM outsourced_accounts w
JOIN outsourced_hires h ON h.worker_id = w.id
JOIN outsourced_queues q ON q.id = h.queue_id AND NOT q.paused
JOIN outsourced_queue_tasks qt ON qt.queue_id = q.id
JOIN outsourced_tasks t ON t.id = qt.task_id
WHERE w.id = :worker_id AND w.state = 'active' AND NOT w.paused
  AND t.name IN (SELECT value FROM json_each(:tasks))
"""

# jobs_ready
_FIRST = """
SELECT priority, seq, id, lost_deliveries FROM outsourced_jobs
WHERE state = 'unassigned' AND queue_id = :queue_id AND task_id = :task_id
  AND (expires_at IS NULL OR expires_at > :now)
ORDER BY priority, seq LIMIT :slots
"""

_LEASE = """
SELECT j.id, j.lease_id, j.queue_id, j.task_id, j.attempt, j.failures, j.max_retries, j.priority,
  (julianday(j.expires_at) - julianday(:now)) * 86400.0, j.lost_deliveries > 0, j.owner_type, j.owner_id,
  EXISTS (SELECT 1 FROM outsourced_edges e WHERE e.upstream_id = j.id AND e.passes AND e.kind <> 'error'),
  j.parent_id, j.root_id,
  a.args,
  f.name, f.size, f.sha256, f.content_type
FROM outsourced_jobs j JOIN outsourced_job_args a ON a.job_id = j.id
LEFT JOIN outsourced_files f ON f.job_id = j.id AND f.kind = 'attachment' AND j.has_attachment
WHERE j.id = :id AND j.lease_id = :lease_id AND j.worker_id = :worker_id
  AND j.state IN ('assigned', 'working')
"""


def claim(batch: Batch, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Claims up to `slots` jobs and keeps the answer for a replay; gives rows as PostgreSQL's claim does."""
    leased = []
    for _, _, job_id, _ in _pick(batch, parameters):
        row = {**parameters, "id": job_id, "i_lease_id": uuid4()}
        if move_job(batch, "claim", row):
            leased.append((job_id, row["i_lease_id"].hex))
    if leased:
        batch.execute(
            "INSERT INTO outsourced_replies (caller, key, reply, at)"
            " VALUES (:caller, :claim_key, :reply, :now)",
            {**parameters, "reply": _dumped(leased)},
        )
    return _leases(batch, leased, parameters)


def replay(batch: Batch, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The leases a claim was answered, as far as they are still good."""
    for (reply,) in batch.execute(
        "SELECT reply FROM outsourced_replies WHERE caller = :caller AND key = :claim_key", parameters
    ):
        return _leases(batch, loads(reply), parameters)
    return []


def _pick(batch: Batch, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    heads = [
        list(batch.execute(_FIRST, {**parameters, "queue_id": queue_id, "task_id": task_id}))
        for queue_id, task_id in batch.execute(_PAIRS, {**parameters, "tasks": _dumped(parameters["tasks"])})
    ]
    # a job that this very request speaks of comes home late: it is not claimed anew
    said = {job_id.hex for job_id in parameters["said"]}
    picked = [row for row in heapq.merge(*heads) if row[2] not in said][: parameters["slots"]]
    # a job with a lost delivery goes out alone, so that a poison job takes no others along
    if picked and picked[0][3]:
        return picked[:1]
    return [row for row in picked if not row[3]]


def _leases(
    batch: Batch, leased: list[tuple[str, str]], parameters: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    return [
        (UUID(hex=row[0]), UUID(hex=row[1]), *row[2:])
        for job_id, lease_id in leased
        for row in batch.execute(_LEASE, {**parameters, "id": job_id, "lease_id": lease_id})
    ]


def _dumped(value: Any) -> str:
    return orjson.dumps(value).decode()
