"""The request of an exchange: what a worker says, as JSON and as a record.

On the hot path, hence checked by hand and flat. Moments of the worker's own clock travel as
durations (`ended_ago`, `begun_ago`), counted when the message is written and when it is read.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import orjson

from outsourced.calls import MAX_PRIORITY
from outsourced.errors import InvalidRequest, PayloadError
from outsourced.payload import MAX_META, MAX_RESULT, check_call
from outsourced.progress import trouble_with
from outsourced.records import (
    Changed,
    ExchangeRequest,
    Failure,
    Held,
    Instance,
    Outcome,
    OutcomeKind,
    Progress,
    Told,
)
from outsourced.wire.reading import (
    Fault,
    JsonObject,
    check_name,
    choice,
    count,
    each,
    expect_object,
    identity,
    member,
    named,
    optional_count,
    optional_seconds,
    optional_text,
    text,
    whole,
)
from outsourced.wire.strict import encode, parse

#: outcomes, and likewise begun leases, in one request
MAX_OUTCOMES = 1_000
#: leases whose progress one request may tell
MAX_PROGRESS = 1_000
#: leases a heartbeat may list
MAX_HELD = 10_000
#: leases one request may ask for
MAX_SLOTS = 1_000
#: seconds a request may ask to be parked
MAX_WAIT = 60
#: task names a worker may know
MAX_TASKS = 5_000
#: chained causes of one failure
MAX_CAUSES = 100

_KINDS = {kind.value: kind for kind in OutcomeKind}
_ABSENT = object()


def load_exchange(body: bytes) -> ExchangeRequest:
    """The request in a body; raises MalformedJSON, or InvalidRequest with the path of what is wrong."""
    tree = parse(body)
    try:
        return _read_request(expect_object(tree))
    except Fault as fault:
        raise InvalidRequest(str(fault), path=fault.path) from None


def _read_request(tree: JsonObject) -> ExchangeRequest:
    instance = member(tree, "instance", read=_read_instance)
    if instance is None:
        raise Fault("instance", "must be an object with id, host, pid and version")
    slots = count(tree, "slots", default=0, limit=MAX_SLOTS)
    claim_id = None if tree.get("claim_id") is None else identity(tree, "claim_id")
    if (claim_id is None) is bool(slots):
        raise Fault("claim_id", "must be there if, and only if, slots is above 0")
    now = time.monotonic()
    return ExchangeRequest(
        instance=instance,
        claim_id=claim_id,
        slots=slots,
        wait=optional_seconds(tree, "wait", limit=MAX_WAIT) or 0.0,
        tasks=each(tree, "tasks", limit=MAX_TASKS, read=check_name),
        held=None if tree.get("held") is None else _read_held(tree, "held", MAX_HELD, now),
        begun=_read_held(tree, "begun", MAX_OUTCOMES, now),
        outcomes=_read_outcomes(tree, now),
        progress=_read_progress(tree) if "progress" in tree else (),
    )


def _read_instance(tree: JsonObject) -> Instance:
    return Instance(
        id=identity(tree, "id"),
        host=named(tree, "host"),
        pid=count(tree, "pid"),
        version=named(tree, "version"),
    )


def _read_held(tree: JsonObject, name: str, limit: int, now: float) -> tuple[Held, ...]:
    def read(item: Any) -> Held:
        expect_object(item)
        ago = optional_seconds(item, "begun_ago")
        return Held(
            lease_id=identity(item, "lease_id"),
            job_id=identity(item, "job_id"),
            begun_at=None if ago is None else now - ago,
        )

    held = each(tree, name, limit=limit, read=read)
    _refuse_doubles(name, [one.lease_id for one in held])
    return held


def _read_outcomes(tree: JsonObject, now: float) -> tuple[Outcome, ...]:
    def read(item: Any) -> Outcome:
        expect_object(item)
        return Outcome(
            lease_id=identity(item, "lease_id"),
            job_id=identity(item, "job_id"),
            kind=choice(item, "kind", _KINDS),
            result=_read_json(item, "result", MAX_RESULT),
            error=member(item, "error", read=_read_failure) if "error" in item else None,
            delay=optional_seconds(item, "delay") if "delay" in item else None,
            max_retries=optional_count(item, "max_retries") if "max_retries" in item else None,
            ran_for=optional_seconds(item, "ran_for"),
            ended_at=now - (optional_seconds(item, "ended_ago") or 0.0),
            reason=_read_reason(item) if "reason" in item else None,
            changes=member(item, "changes", read=_read_changes) if "changes" in item else None,
            replaced_by=_read_replacement(item),
        )

    outcomes = each(tree, "outcomes", limit=MAX_OUTCOMES, read=read)
    _refuse_doubles("outcomes", [outcome.lease_id for outcome in outcomes])
    return outcomes


def _read_replacement(tree: JsonObject) -> UUID | None:
    return identity(tree, "replaced_by") if tree["kind"] == OutcomeKind.REPLACED else None


def _read_changes(tree: JsonObject) -> Changed:
    priority = whole(tree, "priority", default=0) if tree.get("priority") is not None else None
    if abs(priority or 0) > MAX_PRIORITY:
        raise Fault("priority", f"must be a whole number from {-MAX_PRIORITY:,} to {MAX_PRIORITY:,}")
    return Changed(
        payload=None if tree.get("payload") is None else _read_call(tree["payload"]),
        priority=priority,
        expires_in=optional_seconds(tree, "expires_in"),
    )


def _read_call(value: Any) -> str:
    try:
        return check_call(expect_object(value))
    except (Fault, PayloadError) as error:
        raise Fault("payload", f"cannot be carried: {error}") from None


def _read_progress(tree: JsonObject) -> tuple[Told, ...]:
    told = each(tree, "progress", limit=MAX_PROGRESS, read=_read_told)
    _refuse_doubles("progress", [one.lease_id for one in told])
    return told


def _read_told(item: Any) -> Told:
    tree = expect_object(item)
    state = named(tree, "state")
    trouble = trouble_with(state)
    if trouble is not None:
        raise Fault("state", trouble)
    return Told(
        lease_id=identity(tree, "lease_id"),
        job_id=identity(tree, "job_id"),
        number=count(tree, "number"),
        progress=Progress(state=state, meta=_read_json(tree, "meta", MAX_META) or "null"),
    )


def _refuse_doubles(name: str, lease_ids: list[UUID]) -> None:
    if len(set(lease_ids)) == len(lease_ids):
        return
    index = next(i for i, lease_id in enumerate(lease_ids) if lease_id in lease_ids[:i])
    raise Fault(f"{name}[{index}].lease_id", f"is there twice in {name}")


def _read_json(tree: JsonObject, name: str, limit: int) -> str | None:
    value = tree.get(name, _ABSENT)
    if value is _ABSENT:
        return None
    found = encode(value)
    if found is None:
        raise Fault(name, "is nested too deeply")
    if len(found) > limit:
        raise Fault(name, f"takes {len(found):,} bytes of JSON, the limit is {limit:,}")
    return found.decode()


def _read_failure(tree: JsonObject) -> Failure:
    return Failure(
        type=text(tree, "type"),
        message=text(tree, "message"),
        traceback=optional_text(tree, "traceback") or "",
        causes=each(tree, "causes", limit=MAX_CAUSES, read=_read_cause),
    )


def _read_cause(item: Any) -> tuple[str, str]:
    match item:
        case [str(kind), str(message)]:
            return kind, message
    raise Fault("", "must be a pair of texts: type and message")


def _read_reason(tree: JsonObject) -> str | None:
    # PostgreSQL's text has no NUL, and an outcome is not to be lost over the wording of its reason
    reason = optional_text(tree, "reason")
    return reason and reason.replace("\0", "\ufffd")


def dump_exchange(request: ExchangeRequest) -> bytes:
    """The body that `load_exchange` reads."""
    now = time.monotonic()
    instance = request.instance
    tree: JsonObject = {
        "instance": {
            "id": instance.id,
            "host": instance.host,
            "pid": instance.pid,
            "version": instance.version,
        },
        "slots": request.slots,
        "wait": request.wait,
        "tasks": request.tasks,
        "begun": [_dump_held(held, now) for held in request.begun],
        "outcomes": [_dump_outcome(outcome, now) for outcome in request.outcomes],
    }
    if request.claim_id is not None:
        tree["claim_id"] = request.claim_id
    if request.held is not None:
        tree["held"] = [_dump_held(held, now) for held in request.held]
    if request.progress:
        tree["progress"] = [_dump_told(told) for told in request.progress]
    return orjson.dumps(tree)


def _dump_held(held: Held, now: float) -> JsonObject:
    tree: JsonObject = {"lease_id": held.lease_id, "job_id": held.job_id}
    if held.begun_at is not None:
        tree["begun_ago"] = max(0.0, now - held.begun_at)
    return tree


def _dump_outcome(outcome: Outcome, now: float) -> JsonObject:
    tree: JsonObject = {
        "lease_id": outcome.lease_id,
        "job_id": outcome.job_id,
        "kind": outcome.kind.value,
        "ended_ago": max(0.0, now - outcome.ended_at),
    }
    if outcome.result is not None:
        tree["result"] = orjson.Fragment(outcome.result)
    if outcome.error is not None:
        tree["error"] = _dump_failure(outcome.error)
    if outcome.changes is not None:
        tree["changes"] = _dump_changes(outcome.changes)
    for name in ("delay", "max_retries", "ran_for", "reason", "replaced_by"):
        value = getattr(outcome, name)
        if value is not None:
            tree[name] = value
    return tree


def _dump_changes(changes: Changed) -> JsonObject:
    tree: JsonObject = {"priority": changes.priority, "expires_in": changes.expires_in}
    if changes.payload is not None:
        tree["payload"] = orjson.Fragment(changes.payload)
    return tree


def _dump_told(told: Told) -> JsonObject:
    return {
        "lease_id": told.lease_id,
        "job_id": told.job_id,
        "number": told.number,
        "state": told.progress.state,
        "meta": orjson.Fragment(told.progress.meta),
    }


def _dump_failure(failure: Failure) -> JsonObject:
    return {
        "type": failure.type,
        "message": failure.message,
        "traceback": failure.traceback,
        "causes": failure.causes,
    }
