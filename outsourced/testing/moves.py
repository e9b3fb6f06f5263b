"""What happens to the jobs of a store: one function a verb, each a guard and a `Store.move`.

Called under the store's lock. The rules are those of `docs/states.md`, as the SQL backend has them.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from outsourced import following
from outsourced.records import Changed, Failure, Outcome, OutcomeKind, Told
from outsourced.settling import EVENTS, reason_of
from outsourced.states import DUE_LATER, LEASED, UNLEASED, Event, Facts, Reason, State, next_state
from outsourced.testing.following import failure_of, follow, wait_for_replacement
from outsourced.testing.kept import KeptJob, KeptWorker
from outsourced.testing.store import Store

JANITOR = "janitor"


def claim(store: Store, kept: KeptJob, worker: KeptWorker, instance_id: UUID) -> None:
    """Gives the job to the worker, under a fresh lease."""
    kept.lease_id, kept.lease_until = uuid4(), store.now() + store.lease_ttl
    kept.holder, kept.instance_id, kept.rescued_from = worker.name, instance_id, None
    store.move(kept, Event.CLAIM, actor=worker.actor, under_lease=True)


def begin(store: Store, kept: KeptJob, *, began_ago: float) -> None:
    """Records that its task runs; nothing for one that is known to."""
    if kept.state is State.ASSIGNED:
        begun = _begun(store, kept, began_ago)
        store.move(kept, Event.BEGIN, actor=_actor(kept), under_lease=True, **begun)


def _begun(store: Store, kept: KeptJob, began_ago: float | None) -> dict[str, Any]:
    """What an end implies for the job: the begin it did not report."""
    kept.rescued_from = None
    if kept.state is State.WORKING:
        return {}
    begun_at = None if began_ago is None else store.after(-began_ago)
    return {"attempt": kept.job.attempt + 1, "begun_at": begun_at}


def note_progress(kept: KeptJob, worker: KeptWorker, told: Told) -> None:
    """Keeps what is told under a lease that the worker holds, unless a later word has come."""
    held = kept.state in LEASED and (kept.lease_id, kept.holder) == (told.lease_id, worker.name)
    before = kept.told
    if held and (before is None or before.lease_id != told.lease_id or before.number < told.number):
        kept.told = told


def settle(store: Store, kept: KeptJob, outcome: Outcome) -> bool:
    """Ends the lease as its worker says; False where a job in this state cannot end so."""
    began_ago = None
    if outcome.ran_for is not None:
        began_ago = max(0.0, time.monotonic() - outcome.ended_at) + outcome.ran_for
    reason = reason_of(outcome)
    match EVENTS[outcome.kind]:
        case Event.COMPLETE:
            begun = _begun(store, kept, began_ago)
            store.move(
                kept,
                Event.COMPLETE,
                actor=_actor(kept),
                reason=reason,
                under_lease=True,
                result=outcome.result,
                **begun,
            )
        case Event.FAIL:
            _fail(store, kept, outcome, began_ago)
        case Event.REPLACE:
            return _replace(store, kept, outcome, began_ago)
        case Event.RELEASE:
            release(store, kept, actor=_actor(kept), reason=reason)
        case Event.RESCUE:
            begin(store, kept, began_ago=began_ago or 0.0)
            rescue(store, kept, actor=_actor(kept), reason=reason, error=outcome.error, reclaimable=False)
        case event:
            return _report(store, kept, event)
    return True


def _fail(store: Store, kept: KeptJob, outcome: Outcome, began_ago: float | None) -> None:
    job, wants = kept.job, outcome.kind is OutcomeKind.RETRY
    budget = job.max_retries if outcome.max_retries is None else outcome.max_retries
    left = budget is None or budget < 0 or job.failures < budget
    next_try = store.after(outcome.delay or 0.0)
    changed = outcome.changes or Changed()
    expires_at = job.expires_at if changed.expires_in is None else store.after(changed.expires_in)
    facts = Facts(
        wants_retry=wants,
        retries_left=left,
        cancel_requested=job.cancel_requested_at is not None,
        expires_before_retry=expires_at is not None and expires_at <= next_try,
    )
    reason = Reason.RETRIES_EXHAUSTED if wants and not left else reason_of(outcome)
    begun = _begun(store, kept, began_ago)
    changes = begun | {
        "failures": job.failures + 1,
        "runs_at": next_try if wants else job.runs_at,
        "priority": job.priority if changed.priority is None else changed.priority,
        "expires_at": expires_at,
    }
    if changed.payload is not None and next_state(job.state, Event.FAIL, facts) is State.RETRYING:
        changes["payload"] = changed.payload
    store.move(
        kept,
        Event.FAIL,
        actor=_actor(kept),
        facts=facts,
        reason=reason,
        error=outcome.error,
        under_lease=True,
        **changes,
    )


def _replace(store: Store, kept: KeptJob, outcome: Outcome, began_ago: float | None) -> bool:
    """By a child of its own, for which it waits; False where that is none."""
    by, job, rhythm = outcome.replaced_by, kept.job, kept.rhythm
    replacement = None if by is None else store.jobs.get(by)
    if replacement is None or replacement.job.parent_id != job.id:
        return False
    if any(edge.downstream == job.id for edge in replacement.before):
        return False  # it was before
    facts = Facts(
        cancel_requested=job.cancel_requested_at is not None,
        repeats=(rhythm.after_complete or rhythm.after_fail) is not None,
    )
    state = next_state(job.state, Event.REPLACE, facts)
    changes = _begun(store, kept, began_ago)
    if state is State.WAITING:
        changes |= {"task": following.ACCUMULATE, "expires_at": None}  # it has begun in time
        wait_for_replacement(kept, replacement)
    reason = outcome.reason if state is State.WAITING else None
    error = failure_of(following.irreplaceable()) if state is State.FAILED else None
    actor, told = _actor(kept), {"reason": reason, "error": error, **changes}
    store.move(kept, Event.REPLACE, actor=actor, facts=facts, under_lease=True, **told)
    if not replacement.is_live:
        follow(store, replacement, actor=actor)
    return True


def _report(store: Store, kept: KeptJob, event: Event) -> bool:
    """The worker stopped the task because it was asked to, or never began it because it came too late."""
    allowed = (
        kept.job.cancel_requested_at is not None
        if event is Event.CANCEL
        else kept.state is State.ASSIGNED and kept.job.expires_at is not None
    )
    if allowed:
        store.move(kept, event, actor=_actor(kept), under_lease=True)
    return allowed


def release(store: Store, kept: KeptJob, *, actor: str, reason: str | None) -> None:
    """Gives the job back, nothing spent."""
    kept.rescued_from = None
    facts = Facts(cancel_requested=kept.job.cancel_requested_at is not None)
    store.move(kept, Event.RELEASE, actor=actor, facts=facts, reason=reason, under_lease=True, begun_at=None)


def rescue(
    store: Store,
    kept: KeptJob,
    *,
    actor: str,
    reason: str | None,
    error: Failure | None = None,
    reclaimable: bool = True,
) -> None:
    """Takes the job back from a worker that is lost; a begun one spends a loss."""
    job, working = kept.job, kept.state is State.WORKING
    facts = Facts(
        cancel_requested=job.cancel_requested_at is not None, losses_left=job.losses < job.max_losses
    )
    if working and not facts.losses_left and not facts.cancel_requested:
        reason = Reason.LOST
    kept.rescued_from = kept.state if reclaimable else None
    kept.lost_deliveries += not working
    store.move(
        kept,
        Event.RESCUE,
        actor=actor,
        facts=facts,
        reason=reason,
        error=error,
        under_lease=True,
        losses=job.losses + working,
        runs_at=store.now() if working else job.runs_at,
    )


def bring_home(store: Store, kept: KeptJob, worker: KeptWorker, lease_id: UUID) -> bool:
    """Whether the worker holds the job under this lease: still, or again, as nobody has claimed it since."""
    if kept.lease_id != lease_id or kept.holder != worker.name:
        return False
    if kept.state not in LEASED and kept.rescued_from is not None and kept.is_live:
        _reclaim(store, kept, kept.rescued_from)
    return kept.state in LEASED


def _reclaim(store: Store, kept: KeptJob, rescued_from: State) -> None:
    losses = kept.job.losses - (rescued_from is State.WORKING)
    kept.lost_deliveries -= rescued_from is State.ASSIGNED
    kept.rescued_from = None
    facts = Facts(rescued_from=rescued_from)
    store.move(kept, Event.RECLAIM, actor=_actor(kept), facts=facts, under_lease=True, losses=losses)
    kept.lease_until = store.now() + store.lease_ttl


def cancel(store: Store, kept: KeptJob, *, actor: str) -> None:
    """Cancels an unleased job, asks the worker of a leased one to stop, and leaves an ended one."""
    if kept.state in UNLEASED:
        kept.rescued_from = None
        store.move(kept, Event.CANCEL, actor=actor, cancel_requested_at=store.now())
    elif kept.state in LEASED:
        request_stop(store, kept)


def request_stop(store: Store, kept: KeptJob) -> None:
    """Asks the worker to stop; it hears of it with its next exchange."""
    if kept.job.cancel_requested_at is None:
        kept.job = replace(kept.job, cancel_requested_at=store.now())
        store.changed.notify_all()


def retry(store: Store, kept: KeptJob, *, actor: str) -> None:
    """Gives an ended job new budgets and another life; raises InvalidTransition."""
    store.move(
        kept,
        Event.RETRY,
        actor=actor,
        failures=0,
        losses=0,
        runs_at=store.now(),
        expires_at=None,
        begun_at=None,
        cancel_requested_at=None,
        result=None,
        result_pruned=False,
    )
    kept.rescued_from, kept.lost_deliveries = None, 0


def tick(store: Store) -> None:
    """What servers do in the background: promote, rescue what lapsed or is stuck, and expire."""
    now = store.now()
    for kept in list(store.jobs.values()):  # one that ends may add its repeat
        if kept.state in DUE_LATER and kept.job.runs_at <= now:
            store.move(kept, Event.PROMOTE, actor=JANITOR)
        if kept.lease_until is not None and kept.lease_until < now:
            rescue(store, kept, actor=JANITOR, reason=Reason.LAPSED)
        if kept.state is State.WORKING and kept.gets_stuck_at is not None and kept.gets_stuck_at <= now:
            rescue(store, kept, actor=JANITOR, reason=Reason.STUCK, reclaimable=False)
        if kept.state in UNLEASED and kept.job.expires_at is not None and kept.job.expires_at <= now:
            kept.rescued_from = None
            store.move(kept, Event.EXPIRE, actor=JANITOR)


def _actor(kept: KeptJob) -> str:
    return f"worker:{kept.holder}"
