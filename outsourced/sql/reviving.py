"""What a person's retry of a job means for those that come after it: they wait again, in its transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, delete, func, or_, select, update

from outsourced import following
from outsourced.following import Follower, Link
from outsourced.records import EdgeKind
from outsourced.sql.models import Edge, Job, JobArgs, JobResult, Queue
from outsourced.sql.models import Transition as HistoryRow
from outsourced.states import Event, Reason, State

#: ids that one statement names
IDS = 500


class Place(NamedTuple):
    """The queue of a job."""

    id: int
    name: str
    capacity: int | None


def behind(connection: Connection, job_id: UUID) -> list[UUID]:
    """All jobs that come after this one, near and far: they are settled once all of them are locked."""
    found: dict[UUID, None] = {}
    ends = [job_id]
    while ends:
        # pk_outsourced_edges
        nearest = [
            one
            for part in _parts(ends)
            for one in connection.scalars(select(Edge.downstream_id).where(Edge.upstream_id.in_(part)))
        ]
        ends = [one for one in dict.fromkeys(nearest) if one not in found]
        found |= dict.fromkeys(ends)
    return list(found)


def revived(connection: Connection, job_id: UUID, behind: Sequence[UUID]) -> list[UUID]:
    """Which of these, all locked, wait again; their results, and what they were given, are taken away."""
    _keep_upstreams(connection, behind)
    followers = [one for _, one in sorted(_followers(connection, behind))]
    links = list(_links(connection, behind))
    found = following.revived(job_id, followers, links)
    filled = {one.id for one in followers if one.filled} & {*found}
    for one in filled:
        if following.takes_input(link for link in links if link.downstream == one):
            args = connection.scalars(select(JobArgs.args).where(JobArgs.job_id == one)).one()
            emptied = update(JobArgs).where(JobArgs.job_id == one)
            connection.execute(emptied.values(args=following.without_input(args)))
        connection.execute(delete(JobResult).where(JobResult.job_id == one))
    for part in _parts([job_id, *found]):
        again = update(Edge).where(Edge.upstream_id.in_(part), Edge.position >= 0)
        connection.execute(again.values(met=None))
    return found


def wait_anew(connection: Connection, job_id: UUID) -> None:
    """Has those that wait for this job, or did when another failed them, wait for its new end.

    Not those that were given its result: what becomes of it now is nothing to them.
    """
    waits = or_(Job.state == State.WAITING, Job.reason == Reason.UPSTREAM)
    # pk_outsourced_edges
    before = update(Edge).where(
        Edge.upstream_id == job_id,
        Edge.downstream_id.in_(select(Job.id).where(waits)),
        Edge.met.is_not(None),
        Edge.position >= 0,
    )
    connection.execute(before.values(met=None))


def queues_of(connection: Connection, job_ids: Sequence[UUID]) -> dict[UUID, Place]:
    """The queue of each that exists."""
    rows = (
        row
        for part in _parts(job_ids)
        for row in connection.execute(
            select(Job.id, Queue.id, Queue.name, Queue.capacity)
            .join(Queue, Queue.id == Job.queue_id)
            .where(Job.id.in_(part))
        )
    )
    return {job_id: Place(queue_id, name, capacity) for job_id, queue_id, name, capacity in rows}


def is_filled(connection: Connection, job_id: UUID) -> bool:
    """Whether the job has been admitted since it last waited."""
    # pk_outsourced_history
    of_job = HistoryRow.job_id == job_id
    waited = select(func.max(HistoryRow.seq)).where(of_job, HistoryRow.to_state == State.WAITING)
    admitted = select(func.max(HistoryRow.seq)).where(of_job, HistoryRow.event == Event.ADMIT)
    since, then = connection.scalar(waited), connection.scalar(admitted)
    return since is None or (then is not None and then > since)


def _keep_upstreams(connection: Connection, job_ids: Sequence[UUID]) -> None:
    """Has nobody forget, from here on, what these wait for: waits for whoever is about to."""
    for part in _parts(job_ids):
        # outsourced_edges_downstream
        upstreams = select(Edge.upstream_id).where(Edge.downstream_id.in_(part), Edge.position >= 0)
        for key in (Job.id, JobResult.job_id):  # a key's share: in the way of no end, and of no begin
            kept = select(key).where(key.in_(upstreams)).order_by(key)
            connection.execute(kept.with_for_update(read=True, key_share=True))


def _followers(connection: Connection, job_ids: Sequence[UUID]) -> Iterator[tuple[int, Follower]]:
    incomplete = _incomplete(connection, job_ids)
    for part in _parts(job_ids):
        for row in connection.execute(select(Job.seq, Job.id, Job.state, Job.reason).where(Job.id.in_(part))):
            yield (
                row.seq,
                Follower(
                    id=row.id,
                    state=State(row.state),
                    reason=row.reason,
                    filled=is_filled(connection, row.id),
                    whole=row.id not in incomplete,
                ),
            )


def _incomplete(connection: Connection, job_ids: Sequence[UUID]) -> set[UUID]:
    """Those that waited for a job which is forgotten."""
    # outsourced_edges_downstream
    missing = (func.count() <= func.max(Edge.position)) | (func.sum(Edge.opens) != func.sum(Edge.closes))
    return {
        job_id
        for part in _parts(job_ids)
        for job_id in connection.scalars(
            select(Edge.downstream_id)
            .where(Edge.downstream_id.in_(part), Edge.position >= 0)
            .group_by(Edge.downstream_id)
            .having(missing)
        )
    }


def _links(connection: Connection, job_ids: Sequence[UUID]) -> Iterator[Link]:
    kept = or_(JobResult.job_id.is_(None), JobResult.result.is_not(None))
    for part in _parts(job_ids):
        rows = connection.execute(
            select(Edge.upstream_id, Edge.downstream_id, Edge.kind, Edge.passes, Edge.met, kept)
            .outerjoin(JobResult, JobResult.job_id == Edge.upstream_id)
            .where(Edge.downstream_id.in_(part), Edge.position >= 0)
        )
        for upstream, downstream, kind, passes, met, is_kept in rows:
            yield Link(upstream, downstream, EdgeKind(kind), passes, met, kept=bool(is_kept))


def _parts(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    return (ids[start : start + IDS] for start in range(0, len(ids), IDS))
