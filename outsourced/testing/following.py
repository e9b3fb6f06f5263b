"""What the end of a job means for those that wait for it, in a store in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import orjson

from outsourced import following
from outsourced.following import Brief, Follower, Link
from outsourced.records import Edge, EdgeKind, Failure
from outsourced.states import Event, Facts, Reason, State
from outsourced.testing.kept import KeptEdge, KeptJob, Waiting

if TYPE_CHECKING:
    from outsourced.testing.store import Store


#: over what an error reaches those that wait
_PASSING_ON = (EdgeKind.CHAIN, *following.RAISING)


def follow(store: Store, ended: KeptJob, *, actor: str) -> None:
    """Notes the end on what waits for it, and moves those for which it decides."""
    completed, raises = ended.state is State.COMPLETED, _raises(store, ended)
    for edge in ended.before:
        if edge.met is None:
            edge.met = raises if edge.edge.kind is EdgeKind.ERROR else completed
            _decide(store, store.jobs[edge.downstream], edge, ended, actor=actor)


def add_to_chord(store: Store, member: KeptJob, added: KeptJob) -> None:
    """Has the bodies that wait for this member wait for that job too: its result comes last."""
    for one in list(member.before):
        body = store.jobs[one.downstream]
        if one.edge.kind is EdgeKind.CHORD and one.met is None and body.state is State.WAITING:
            last = [edge for edge in body.after if edge.edge.kind is EdgeKind.CHORD][-1]
            last.edge = replace(last.edge, closes=last.edge.closes - 1)
            new = Edge(upstream=added.job.id, kind=EdgeKind.CHORD, passes=one.edge.passes, closes=1)
            edge = KeptEdge(new, body.job.id)
            body.after = (*body.after, edge)
            added.before.append(edge)


def wait_for_replacement(kept: KeptJob, by: KeptJob) -> None:
    """From now on it waits for this job, and no more for those that it was given results by."""
    edge = KeptEdge(Edge(upstream=by.job.id, kind=EdgeKind.REPLACEMENT), kept.job.id)
    kept.after, kept.waiting = (edge,), Waiting()
    by.before.append(edge)


def revived(store: Store, retried: KeptJob) -> list[KeptJob]:
    """Those that wait again as this job is tried again: for them its end had decided."""
    if retried.state is State.COMPLETED:
        return []
    behind = _behind(store, retried)
    followers = [
        Follower(kept.job.id, kept.state, kept.job.reason, filled=is_filled(kept), whole=True)
        for kept in behind
    ]
    links = [link for kept in behind for link in _links(store, kept)]
    return [store.jobs[job_id] for job_id in following.revived(retried.job.id, followers, links)]


def revive(store: Store, retried: KeptJob, revived: Sequence[KeptJob], *, actor: str) -> None:
    """Has them wait again."""
    for kept in revived:
        payload = kept.job.payload
        if payload is not None and is_filled(kept) and following.takes_input(_links(store, kept)):
            payload = following.without_input(payload)
        _wait_again(store, kept, payload, actor=actor)
    given = retried.state is State.COMPLETED
    for kept in (retried, *revived):
        for edge in kept.before:
            if not given or _waits(store.jobs[edge.downstream]):
                edge.met = None


def _waits(kept: KeptJob) -> bool:
    """Whether it waits, or did when another failed it."""
    return kept.state is State.WAITING or kept.job.reason == Reason.UPSTREAM


def _links(store: Store, kept: KeptJob) -> list[Link]:
    return [
        Link(
            one.edge.upstream,
            one.downstream,
            one.edge.kind,
            one.edge.passes,
            one.met,
            kept=not store.jobs[one.edge.upstream].job.result_pruned,
        )
        for one in kept.after
    ]


def _behind(store: Store, kept: KeptJob) -> list[KeptJob]:
    """All that come after it, in the order in which they were enqueued."""
    found: dict[UUID, KeptJob] = {}
    ends = [kept]
    while ends:
        nearest = {edge.downstream: store.jobs[edge.downstream] for one in ends for edge in one.before}
        ends = [one for job_id, one in nearest.items() if job_id not in found]
        found |= nearest
    return sorted(found.values(), key=lambda one: one.seq)


def _wait_again(store: Store, kept: KeptJob, payload: str | None, *, actor: str) -> None:
    store.move(
        kept,
        Event.RETRY,
        actor=actor,
        facts=Facts(blocked=True),
        failures=0,
        losses=0,
        expires_at=None,
        begun_at=None,
        cancel_requested_at=None,
        result=None,
        result_pruned=False,
        payload=payload,
    )
    kept.rescued_from, kept.lost_deliveries = None, 0


def is_filled(kept: KeptJob) -> bool:
    """Whether it has been admitted since it last waited, or never waited."""
    for row in reversed(kept.history):
        if row.event is Event.ADMIT:
            return True
        if row.to_state is State.WAITING:
            return False
    return True


def _raises(store: Store, ended: KeptJob) -> bool:
    """Whether it failed of its own, or as the body of a chord in whose header something did."""
    ways: list[tuple[KeptJob, Collection[EdgeKind]]] = [(ended, following.RAISING)]
    while ways:
        one, over = ways.pop()
        if one.state is State.FAILED and one.job.reason != Reason.UPSTREAM:
            return True
        if one.state is State.FAILED:
            ways += (
                (store.jobs[edge.edge.upstream], _PASSING_ON)
                for edge in one.after
                if edge.met is False and edge.edge.kind in over
            )
    return False


def _decide(store: Store, kept: KeptJob, edge: KeptEdge, ended: KeptJob, *, actor: str) -> None:
    if kept.state is not State.WAITING:
        return
    match following.verdict([(one.edge.kind, one.met) for one in kept.after]):
        case Event.CANCEL:
            store.move(kept, Event.CANCEL, actor=actor, reason=Reason.NOT_NEEDED)
        case Event.FAIL:
            _fail(store, kept, _brief(ended).passed_on(edge.edge.kind, ended.job.id), actor=actor)
        case Event.ADMIT:
            _admit(store, kept, actor=actor)


def _fail(store: Store, kept: KeptJob, why: Brief, *, actor: str) -> None:
    store.move(kept, Event.FAIL, actor=actor, reason=Reason.UPSTREAM, error=failure_of(why))


def _admit(store: Store, kept: KeptJob, *, actor: str) -> None:
    upstreams = [store.jobs[one.edge.upstream] for one in kept.after if _passes_result(one)]
    size = sum(len((upstream.job.result or "").encode()) for upstream in upstreams)
    too_large = size > following.MAX_INPUT
    payload = kept.job.payload
    argument = following.withheld(size) if too_large else _argument(store, kept)
    assert payload is not None
    if argument is not None:
        payload = following.with_input(payload, argument)
    assert kept.waiting is not None
    now, wait = store.now(), kept.waiting
    runs_at = kept.job.runs_at if wait.runs_after is None else now + wait.runs_after
    expires_at = kept.job.expires_at
    if wait.expires_after is not None:
        expires_at = now + wait.expires_after
    facts = Facts(due=runs_at <= now)
    store.move(
        kept, Event.ADMIT, actor=actor, facts=facts, payload=payload, runs_at=runs_at, expires_at=expires_at
    )


def _passes_result(one: KeptEdge) -> bool:
    return one.edge.passes and one.edge.kind is not EdgeKind.ERROR


def _argument(store: Store, kept: KeptJob) -> str | None:
    """What comes first in the arguments of a job that is admitted."""
    given = [one.edge for one in kept.after if _passes_result(one)]
    if given:
        return following.listed(
            (edge.opens, store.jobs[edge.upstream].job.result, edge.closes) for edge in given
        )
    for one in kept.after:
        if one.met and one.edge.passes:
            failed = store.jobs[one.edge.upstream]
            error = _last_error(failed) or _brief(failed).dumped()
            assert failed.job.payload is not None
            return following.failed_argument(
                failed.job.id, failed.job.task, error=error, call=failed.job.payload
            )
    return None


def _brief(ended: KeptJob) -> Brief:
    return following.brief_of(ended.job.id, ended.state, error=_last_error(ended), reason=ended.job.reason)


def _last_error(kept: KeptJob) -> str | None:
    errors = [row.error for row in kept.history if row.error is not None]
    if not errors:
        return None
    last = errors[-1]
    return orjson.dumps(
        {"type": last.type, "message": last.message, "traceback": last.traceback, "causes": last.causes}
    ).decode()


def failure_of(why: Brief) -> Failure:
    """The error in two words, as history keeps it."""
    error = orjson.loads(why.dumped())
    return Failure(type=error["type"], message=error["message"])
