"""Jobs and their histories over the wire, as the server shows them to producers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import orjson

from outsourced.errors import InvalidRequest
from outsourced.payload import loads
from outsourced.records import Failure, Job, Owner, Progress, StoredFile, Transition
from outsourced.states import Event, State
from outsourced.wire.reading import (
    Fault,
    JsonObject,
    choice,
    count,
    each,
    expect_object,
    flag,
    identity,
    member,
    moment,
    named,
    optional_count,
    optional_identity,
    optional_text,
    text,
    whole,
)
from outsourced.wire.reply import dump_file, read_file

T = TypeVar("T")

_STATES = {state.value: state for state in State}
_EVENTS = {event.value: event for event in Event}
#: of one job, the most a reader takes
_MAX_FILES, _MAX_TRANSITIONS, _MAX_CAUSES = 10_000, 100_000, 100
#: children of a job, likewise
_MAX_CHILDREN = 1_000_000
#: jobs on a page, likewise
_MAX_PAGE = 10_000


def _loaded(body: bytes, read: Callable[[JsonObject], T]) -> T:
    tree = loads(body)
    try:
        return read(expect_object(tree))
    except Fault as fault:
        raise InvalidRequest(str(fault), path=fault.path) from None


def _required_moment(tree: JsonObject, name: str) -> datetime:
    found = moment(tree, name)
    if found is None:
        raise Fault(name, "must be a moment")
    return found


def job_tree(job: Job) -> JsonObject:
    """A job as `load_job` reads it."""
    tree = {field.name: getattr(job, field.name) for field in fields(job)}
    tree["owner"] = None if job.owner is None else {"type": job.owner.type, "id": job.owner.id}
    tree["error"] = _failure_tree(job.error)
    tree["files"] = [dump_file(file) for file in job.files]
    for name in ("payload", "result"):
        tree[name] = None if tree[name] is None else orjson.Fragment(tree[name].encode())
    tree["has_result"] = job.result is not None
    tree["progress"] = None if job.progress is None else _progress_tree(job.progress)
    return tree


def load_job(body: bytes) -> Job:
    """The job in a body; raises MalformedJSON or InvalidRequest."""
    return _loaded(body, _read_job)


class OwnedPage(NamedTuple):
    """An owner's jobs: how many there are by state, and some of them; `cursor` asks for the next."""

    counts: dict[State, int]
    jobs: tuple[Job, ...]
    cursor: int | None


def load_owned(body: bytes) -> OwnedPage:
    """The page in a body; raises likewise."""
    return _loaded(body, _read_owned)


def load_cancelled(body: bytes) -> tuple[int, int]:
    """How many jobs were cancelled, and how many workers are asked to stop; raises likewise."""
    return _loaded(body, lambda tree: (count(tree, "cancelled"), count(tree, "cancelling")))


def _read_owned(tree: JsonObject) -> OwnedPage:
    counts = member(tree, "counts", read=lambda counts: counts) or {}
    return OwnedPage(
        counts={State(state): count(counts, state) for state in counts if state in _STATES},
        jobs=each(tree, "jobs", limit=_MAX_PAGE, read=lambda item: _read_job(expect_object(item))),
        cursor=_cursor(tree),
    )


def _cursor(tree: JsonObject) -> int | None:
    cursor = tree.get("cursor")
    if cursor is not None and (type(cursor) is not int or not 0 < cursor < 2**63):
        raise Fault("cursor", "must be the place of a job, or null")
    return cursor


def _read_job(tree: JsonObject) -> Job:
    return Job(
        id=identity(tree, "id"),
        task=text(tree, "task"),
        queue=text(tree, "queue"),
        state=choice(tree, "state", _STATES),
        priority=whole(tree, "priority", default=0),
        attempt=count(tree, "attempt"),
        failures=count(tree, "failures"),
        losses=count(tree, "losses"),
        max_retries=optional_count(tree, "max_retries"),
        max_losses=count(tree, "max_losses"),
        owner=member(tree, "owner", read=_read_owner),
        created_at=_required_moment(tree, "created_at"),
        runs_at=_required_moment(tree, "runs_at"),
        expires_at=moment(tree, "expires_at"),
        gets_stuck_at=moment(tree, "gets_stuck_at"),
        repeats_after_fail_at=moment(tree, "repeats_after_fail_at"),
        repeats_after_complete_at=moment(tree, "repeats_after_complete_at"),
        repeat_of=optional_identity(tree, "repeat_of"),
        parent_id=optional_identity(tree, "parent_id"),
        root_id=optional_identity(tree, "root_id"),
        begun_at=moment(tree, "begun_at"),
        ended_at=moment(tree, "ended_at"),
        cancel_requested_at=moment(tree, "cancel_requested_at"),
        reason=optional_text(tree, "reason"),
        worker=optional_text(tree, "worker"),
        payload=None if tree.get("payload") is None else orjson.dumps(tree["payload"]).decode(),
        result=orjson.dumps(tree.get("result")).decode() if flag(tree, "has_result") else None,
        result_pruned=flag(tree, "result_pruned"),
        error=member(tree, "error", read=_read_failure),
        files=each(tree, "files", limit=_MAX_FILES, read=_read_file),
        progress=member(tree, "progress", read=_read_progress),
    )


def _progress_tree(progress: Progress) -> JsonObject:
    return {"state": progress.state, "meta": orjson.Fragment(progress.meta)}


def _read_progress(tree: JsonObject) -> Progress:
    return Progress(state=text(tree, "state"), meta=orjson.dumps(tree.get("meta")).decode())


def _read_file(item: Any) -> StoredFile:
    return read_file(expect_object(item))


def _read_owner(tree: JsonObject) -> Owner:
    return Owner(type=named(tree, "type"), id=named(tree, "id"))


def _failure_tree(failure: Failure | None) -> JsonObject | None:
    if failure is None:
        return None
    return {name: getattr(failure, name) for name in ("type", "message", "traceback", "causes")}


def _read_failure(tree: JsonObject) -> Failure:
    return Failure(
        type=text(tree, "type"),
        message=text(tree, "message"),
        traceback=optional_text(tree, "traceback") or "",
        causes=each(tree, "causes", limit=_MAX_CAUSES, read=lambda pair: (str(pair[0]), str(pair[1]))),
    )


def load_children(body: bytes) -> tuple[UUID, ...]:
    """The ids of a job's children in a body; raises likewise."""
    return _loaded(body, lambda tree: each(tree, "children", limit=_MAX_CHILDREN, read=_read_child))


def _read_child(item: Any) -> UUID:
    return identity({"id": item}, "id")


def history_tree(transitions: Sequence[Transition]) -> JsonObject:
    """A job's history as `load_history` reads it: the columns of `job history --json`."""
    return {
        "history": [
            {
                "job_id": one.job_id,
                "seq": one.seq,
                "from": one.from_state,
                "to": one.to_state,
                "event": one.event,
                "attempt": one.attempt,
                "actor": one.actor,
                "lease_id": one.lease_id,
                "at": one.at,
                "reason": one.reason,
                "error": _failure_tree(one.error),
            }
            for one in transitions
        ]
    }


def load_history(body: bytes) -> tuple[Transition, ...]:
    """The history in a body, oldest first; raises MalformedJSON or InvalidRequest."""
    return _loaded(body, lambda tree: each(tree, "history", limit=_MAX_TRANSITIONS, read=_read_transition))


def _read_transition(item: Any) -> Transition:
    tree = expect_object(item)
    return Transition(
        job_id=identity(tree, "job_id"),
        seq=count(tree, "seq"),
        from_state=None if tree.get("from") is None else choice(tree, "from", _STATES),
        to_state=choice(tree, "to", _STATES),
        event=choice(tree, "event", _EVENTS),
        attempt=count(tree, "attempt"),
        actor=text(tree, "actor"),
        lease_id=optional_identity(tree, "lease_id"),
        at=_required_moment(tree, "at"),
        reason=optional_text(tree, "reason"),
        error=member(tree, "error", read=_read_failure),
    )
