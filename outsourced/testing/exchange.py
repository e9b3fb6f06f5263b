"""The exchange over a store in memory: settle, begin, renew, progress, claim, in this order and locked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from outsourced import settling
from outsourced.errors import WorkerLocked
from outsourced.payload import loads
from outsourced.records import (
    Command,
    CommandKind,
    EdgeKind,
    ExchangeReply,
    ExchangeRequest,
    Held,
    Lease,
    Outcome,
    Settled,
    SettledStatus,
    Told,
)
from outsourced.states import LEASED, Event, State
from outsourced.testing import moves
from outsourced.testing.kept import KeptJob, KeptLimit, KeptWorker
from outsourced.testing.store import Store


def exchange(store: Store, worker: KeptWorker, request: ExchangeRequest) -> ExchangeReply:
    """Answers at once, whatever `request.wait` says; raises WorkerLocked."""
    if worker.locked:
        raise WorkerLocked(f"worker {worker.name!r} is locked out", worker=worker.name)
    settled = tuple(_settle(store, worker, outcome) for outcome in request.outcomes)
    lost = [*_begin(store, worker, request.begun), *_renew(store, worker, request.held or ())]
    for told in request.progress:
        if told.job_id in store.jobs:
            moves.note_progress(store.jobs[told.job_id], worker, told)
    asked = [
        Command(kind=CommandKind.CANCEL, lease_id=kept.lease_id)
        for kept in store.jobs.values()
        if kept.lease_id is not None
        and kept.state in LEASED
        and (kept.holder, kept.instance_id) == (worker.name, request.instance.id)
        and kept.job.cancel_requested_at is not None
    ]
    leases = tuple(_claim(store, worker, request)) if request.slots else ()
    return ExchangeReply(leases=leases, settled=settled, commands=(*asked, *lost))


def _settle(store: Store, worker: KeptWorker, outcome: Outcome) -> Settled:
    kept = store.jobs.get(outcome.job_id)
    if kept is not None and moves.bring_home(store, kept, worker, outcome.lease_id):
        if moves.settle(store, kept, outcome):
            return Settled(lease_id=outcome.lease_id, status=SettledStatus.RECORDED)
        return _refused(outcome, "invalid_transition", settling.unsettled(outcome))
    ending = None if kept is None else _last_of(kept, worker, outcome)
    if ending is None:
        return _refused(outcome, "not_found", None)
    if settling.is_same(outcome, ending, worker=worker.name):
        return Settled(lease_id=outcome.lease_id, status=SettledStatus.REPLAYED)
    return _refused(outcome, "lease_lost", settling.told(ending))


def _refused(outcome: Outcome, code: str, reason: str | None) -> Settled:
    return Settled(lease_id=outcome.lease_id, status=SettledStatus.REFUSED, code=code, reason=reason)


def _last_of(kept: KeptJob, worker: KeptWorker, said: Outcome | Held) -> settling.Ending | None:
    """The newest row of this lease's history; None where this worker never held it."""
    rows = [row for row in kept.history if row.lease_id == said.lease_id]
    mine = rows and (rows[0].event, rows[0].actor) == (Event.CLAIM, worker.actor)
    return rows[-1] if mine else None


def _begin(store: Store, worker: KeptWorker, begun: Iterable[Held]) -> Iterator[Command]:
    for held in begun:
        kept = store.jobs.get(held.job_id)
        if kept is not None and moves.bring_home(store, kept, worker, held.lease_id):
            ago = 0.0 if held.begun_at is None else max(0.0, time.monotonic() - held.begun_at)
            moves.begin(store, kept, began_ago=ago)
        else:
            yield _lost(kept, worker, held)


def _renew(store: Store, worker: KeptWorker, holding: Iterable[Held]) -> Iterator[Command]:
    for held in holding:
        kept = store.jobs.get(held.job_id)
        if kept is not None and moves.bring_home(store, kept, worker, held.lease_id):
            kept.lease_until = store.now() + store.lease_ttl
        else:
            yield _lost(kept, worker, held)


def _lost(kept: KeptJob | None, worker: KeptWorker, held: Held) -> Command:
    ending = None if kept is None else _last_of(kept, worker, held)
    reason = None if ending is None else settling.told(ending)
    return Command(kind=CommandKind.LOST, lease_id=held.lease_id, reason=reason)


def _claim(store: Store, worker: KeptWorker, request: ExchangeRequest) -> Iterator[Lease]:
    """Leases for the slots; those of the first time where this claim was answered before."""
    assert request.claim_id is not None
    moves.tick(store)  # there is no server to do it meanwhile
    if request.claim_id not in worker.claims:
        picked = _pick(store, worker, request)
        for kept in picked:
            moves.claim(store, kept, worker, request.instance.id)
            _spend(store, worker, kept)
        if picked:
            worker.claims[request.claim_id] = [
                (kept.job.id, kept.lease_id) for kept in picked if kept.lease_id is not None
            ]
    for job_id, lease_id in worker.claims.get(request.claim_id, ()):
        kept = store.jobs[job_id]
        if kept.lease_id == lease_id and kept.state in LEASED:
            yield lease_of(store, kept)


def _spend(store: Store, worker: KeptWorker, kept: KeptJob) -> None:
    for limit in () if worker.is_unlimited else store.limits_of(kept):
        limit.next_at = limit.rate.spend(1, limit.next_at, store.now())


def _pick(store: Store, worker: KeptWorker, request: ExchangeRequest) -> list[KeptJob]:
    """The jobs to hand out: smaller priorities first, and the older of two."""
    if worker.paused:
        return []
    queues = {name for name in worker.hired if not store.queues[name].paused}
    # a job that this very request speaks of comes home late: it is not claimed anew
    said: list[Outcome | Held | Told] = [
        *request.outcomes,
        *request.begun,
        *(request.held or ()),
        *request.progress,
    ]
    coming_home = {one.job_id for one in said}
    ready = [
        kept
        for kept in store.jobs.values()
        if kept.state is State.UNASSIGNED
        and kept.job.queue in queues
        and kept.job.task in request.tasks
        and kept.job.id not in coming_home
    ]
    in_order = sorted(ready, key=lambda kept: (kept.job.priority, kept.seq))
    allowed = in_order if worker.is_unlimited else _within_limits(store, in_order)
    picked = list(islice(allowed, request.slots))
    # one with a lost delivery goes out alone, so that a poison job takes no others along
    if picked and picked[0].lost_deliveries:
        return picked[:1]
    return [kept for kept in picked if not kept.lost_deliveries]


def _within_limits(store: Store, in_order: Iterable[KeptJob]) -> Iterator[KeptJob]:
    """Those that rate limits let through, each with those before it."""
    now, used = store.now(), Counter[KeptLimit]()
    for kept in in_order:
        limits = store.limits_of(kept)
        if all(used[limit] < limit.rate.permits(limit.next_at, now) for limit in limits):
            used.update(limits)
            yield kept


def lease_of(store: Store, kept: KeptJob) -> Lease:
    """The lease a job is under, as its worker gets it."""
    job = kept.job
    assert kept.lease_id is not None
    assert job.payload is not None
    return Lease(
        id=kept.lease_id,
        job_id=job.id,
        task=job.task,
        payload=loads(job.payload),
        queue=job.queue,
        attempt=job.attempt + 1,
        failures=job.failures,
        max_retries=job.max_retries,
        ttl=store.lease_ttl.total_seconds(),
        priority=job.priority,
        expires_in=None if job.expires_at is None else (job.expires_at - store.now()).total_seconds(),
        confirm=kept.lost_deliveries > 0,
        attachment=None if kept.attachment is None else kept.attachment.stored,
        owner=job.owner,
        passes_result=any(one.edge.passes and one.edge.kind is not EdgeKind.ERROR for one in kept.before),
        parent_id=job.parent_id,
        root_id=job.root_id,
    )
