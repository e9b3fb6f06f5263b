"""The claim on SQLite: the first jobs of each pair, merged, then moved one by one."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import orjson

from outsourced.payload import loads
from outsourced.sql.dialects import Batch
from outsourced.sql.dialects.sqlite.batch import SQLiteBatch
from outsourced.sql.dialects.sqlite.moves import move_job
from outsourced.sql.dialects.sqlite.permits import Permits, read_permits

_PAIRS = """
SELECT qt.queue_id, qt.task_id, t.rate_id, q.rate_id
FROM outsourced_accounts w
JOIN outsourced_hires h ON h.worker_id = w.id
JOIN outsourced_queues q ON q.id = h.queue_id AND NOT q.paused
JOIN outsourced_queue_tasks qt ON qt.queue_id = q.id
JOIN outsourced_tasks t ON t.id = qt.task_id
WHERE w.id = :worker_id AND w.state = 'active' AND NOT w.paused
  AND t.name IN (SELECT value FROM json_each(:tasks))
"""
_UNLIMITED = " AND t.rate_id IS NULL AND q.rate_id IS NULL"

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


@dataclass(frozen=True, slots=True)
class _Pair:
    """A queue and a task, and the limits before them."""

    queue_id: int
    task_id: int
    limits: tuple[Permits, ...]


class _Head(NamedTuple):
    """A job that may be claimed, in the order of claims."""

    priority: int
    seq: int
    job_id: str
    lost_deliveries: int
    pair: _Pair


def claim(batch: SQLiteBatch, parameters: Mapping[str, Any], *, limited: bool) -> list[tuple[Any, ...]]:
    """Claims up to `slots` jobs and keeps the answer for a replay; gives rows as PostgreSQL's claim does."""
    leased, spent = [], set[Permits]()
    for head in _pick(batch, parameters, limited=limited):
        row = {**parameters, "id": head.job_id, "i_lease_id": uuid4()}
        if move_job(batch, "claim", row):
            leased.append((head.job_id, row["i_lease_id"].hex))
            for permits in head.pair.limits:
                permits.spend()
                spent.add(permits)
    for permits in spent:
        permits.store(batch)
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


def _pick(batch: SQLiteBatch, parameters: Mapping[str, Any], *, limited: bool) -> list[_Head]:
    # a job that this very request speaks of comes home late: it is not claimed anew
    said = {job_id.hex for job_id in parameters["said"]}
    lines = [_first(batch, pair, parameters) for pair in _pairs(batch, parameters, limited=limited)]
    picked, used = list[_Head](), Counter[Permits]()
    for head in heapq.merge(*lines, key=lambda head: head[:2]):
        if head.job_id in said or any(used[permits] == permits.number for permits in head.pair.limits):
            continue
        picked.append(head)
        used.update(head.pair.limits)
        if len(picked) == parameters["slots"]:
            break
    # a job with a lost delivery goes out alone, so that a poison job takes no others along
    if picked and picked[0].lost_deliveries:
        return picked[:1]
    return [head for head in picked if not head.lost_deliveries]


def _pairs(batch: SQLiteBatch, parameters: Mapping[str, Any], *, limited: bool) -> Iterator[_Pair]:
    """The pairs the worker may claim from; where limits are looked at, those that have a permit left."""
    permits = read_permits(batch) if limited else {}
    rows = batch.execute(
        _PAIRS + ("" if limited else _UNLIMITED), {**parameters, "tasks": _dumped(parameters["tasks"])}
    )
    for queue_id, task_id, *rate_ids in rows:
        limits = tuple(permits[rate_id] for rate_id in rate_ids if rate_id is not None)
        if all(limit.number for limit in limits):
            yield _Pair(queue_id, task_id, limits)


def _first(batch: SQLiteBatch, pair: _Pair, parameters: Mapping[str, Any]) -> list[_Head]:
    of = {"queue_id": pair.queue_id, "task_id": pair.task_id}
    return [
        _Head(priority, seq, job_id, lost_deliveries, pair)
        for priority, seq, job_id, lost_deliveries in batch.execute(_FIRST, {**parameters, **of})
    ]


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
