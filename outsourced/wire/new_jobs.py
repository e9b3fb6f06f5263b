"""New jobs over the wire, as producers send them.

Times are ISO 8601 with an offset, durations seconds. A producer's clock is never compared with the
server's: `runs_in` and `expires_in` count from the arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import orjson

from outsourced.calls import MAX_PRIORITY, job_id
from outsourced.dates import Dates, out_of_order
from outsourced.errors import InvalidRequest, PayloadError
from outsourced.payload import check_call, loads
from outsourced.records import PRODUCED, Edge, NewJob, Owner
from outsourced.wire.reading import (
    Fault,
    JsonObject,
    choice,
    count,
    each,
    expect_object,
    flag,
    member,
    moment,
    named,
    optional_count,
    optional_name,
    optional_seconds,
    whole,
)
from outsourced.wire.strict import parse

#: jobs one request may enqueue
MAX_JOBS = 10_000
#: lists in lists that results are passed on in
MAX_BRACKETS = 100
#: the parts of a multipart body: the job as JSON, and its file
JOB_PART, FILE_PART = "job", "attachment"

_EDGE_KINDS = {kind.value: kind for kind in PRODUCED}


def dump_new_job(job: NewJob) -> bytes:
    """The body that `load_new_job` reads."""
    return orjson.dumps(_new_job_tree(job))


def dump_new_jobs(jobs: Sequence[NewJob]) -> bytes:
    """The body that `load_new_jobs` reads; attachments do not travel in it."""
    return orjson.dumps({"jobs": [_new_job_tree(job) for job in jobs]})


def _new_job_tree(job: NewJob) -> JsonObject:
    call = loads(job.payload)
    tree: JsonObject = {
        "id": str(job.id),
        "task": job.task,
        "args": call["args"],
        "kwargs": call["kwargs"],
        "priority": job.priority,
        "max_retries": job.max_retries,
        "max_losses": job.max_losses,
    }
    optional = {
        "extras": call.get("extras"),
        "queue": job.queue,
        "runs_at": job.runs_at,
        "runs_in": _seconds(job.runs_in),
        "expires_at": job.expires_at,
        "expires_in": _seconds(job.expires_in),
        "stuck_after": _seconds(job.stuck_after),
        "repeats_after_fail": _seconds(job.repeats_after_fail),
        "repeats_after_complete": _seconds(job.repeats_after_complete),
        "owner": None if job.owner is None else {"type": job.owner.type, "id": job.owner.id},
        "unique_key": job.unique_key,
        "after": [_edge_tree(edge) for edge in job.after] or None,
        "add_to_chord": job.add_to_chord or None,
    }
    return tree | {name: value for name, value in optional.items() if value is not None}


def _edge_tree(edge: Edge) -> JsonObject:
    tree: JsonObject = {"job": str(edge.upstream), "kind": edge.kind.value}
    optional = {"opens": edge.opens, "closes": edge.closes}
    return tree | ({} if edge.passes else {"passes": False}) | {name: n for name, n in optional.items() if n}


def _seconds(value: timedelta | None) -> float | None:
    return None if value is None else value.total_seconds()


def load_new_job(body: bytes) -> NewJob:
    """One job in a body; raises MalformedJSON, or InvalidRequest with the path of what is wrong."""
    (job,) = _loaded(body, lambda tree: (_read_new_job(tree),))
    return job


def load_new_jobs(body: bytes) -> tuple[NewJob, ...]:
    """The jobs in a body, at least one; raises likewise."""

    def read(tree: JsonObject) -> tuple[NewJob, ...]:
        jobs = each(tree, "jobs", limit=MAX_JOBS, read=_read_new_job)
        if not jobs:
            raise Fault("jobs", "must be a list of jobs, at least one")
        if len({job.id for job in jobs}) < len(jobs):
            raise Fault("jobs", "has two jobs with one id")
        return jobs

    return _loaded(body, read)


def _loaded(body: bytes, read: Callable[[JsonObject], tuple[NewJob, ...]]) -> tuple[NewJob, ...]:
    tree = parse(body)
    try:
        return read(expect_object(tree))
    except Fault as fault:
        raise InvalidRequest(str(fault), path=fault.path) from None


def _read_new_job(item: object) -> NewJob:
    tree = expect_object(item)
    return NewJob(
        id=job_id(optional_name(tree, "id")),
        task=named(tree, "task"),
        payload=_read_payload(tree),
        queue=optional_name(tree, "queue"),
        priority=_priority(tree),
        **_read_dates(tree),
        owner=member(tree, "owner", read=_read_new_owner),
        max_retries=optional_count(tree, "max_retries") if "max_retries" in tree else 3,
        max_losses=count(tree, "max_losses", default=3),
        unique_key=optional_name(tree, "unique_key"),
        after=each(tree, "after", limit=MAX_JOBS, read=_read_edge),
        add_to_chord=flag(tree, "add_to_chord"),
    )


def _read_edge(item: object) -> Edge:
    tree = expect_object(item)
    return Edge(
        upstream=job_id(named(tree, "job")),
        kind=choice(tree, "kind", _EDGE_KINDS),
        passes=tree.get("passes") is None or flag(tree, "passes"),
        opens=count(tree, "opens", default=0, limit=MAX_BRACKETS),
        closes=count(tree, "closes", default=0, limit=MAX_BRACKETS),
    )


def _read_dates(tree: JsonObject) -> Dates:
    found = Dates(
        runs_at=moment(tree, "runs_at"),
        runs_in=_duration(tree, "runs_in") or None,
        expires_at=moment(tree, "expires_at"),
        expires_in=_duration(tree, "expires_in"),
        stuck_after=_duration(tree, "stuck_after"),
        repeats_after_fail=_duration(tree, "repeats_after_fail"),
        repeats_after_complete=_duration(tree, "repeats_after_complete"),
    )
    if found["runs_at"] is not None and tree.get("runs_in") is not None:
        raise Fault("runs_in", "and runs_at both say when to start: give one of them")
    if found["expires_at"] is not None and found["expires_in"] is not None:
        raise Fault("expires_in", "and expires_at both say when it is too late: give one of them")
    _require_order(found)
    return found


def _require_order(found: Dates) -> None:
    stuck, after_fail = found["stuck_after"], found["repeats_after_fail"]
    after_complete = found["repeats_after_complete"]
    if stuck is None and after_fail is None and after_complete is None:
        return
    from_start = {
        "the start": timedelta(0),
        "stuck_after": stuck,
        "the end of the time to begin": _time_to_begin(found),
        "repeats_after_fail": after_fail,
        "repeats_after_complete": after_complete,
    }
    if pair := out_of_order(from_start.items()):
        before, name = pair
        raise Fault(name, f"does not come after {before} ({from_start[before]} from the start)")


def _time_to_begin(found: Dates) -> timedelta | None:
    """From the start to the expiry, where that can be told without a clock."""
    if found["expires_in"] is not None and found["runs_at"] is None:
        return found["expires_in"] - (found["runs_in"] or timedelta(0))
    if found["expires_at"] is not None and found["runs_at"] is not None:
        return found["expires_at"] - found["runs_at"]
    return None


def _duration(tree: JsonObject, name: str) -> timedelta | None:
    seconds = optional_seconds(tree, name)
    return None if seconds is None else timedelta(seconds=seconds)


def _read_payload(tree: JsonObject) -> str:
    args, kwargs, extras = tree.get("args", []), tree.get("kwargs", {}), tree.get("extras")
    if type(args) is not list:
        raise Fault("args", "must be a list")
    if type(kwargs) is not dict:
        raise Fault("kwargs", "must be an object")
    if extras is not None and type(extras) is not dict:
        raise Fault("extras", "must be an object")
    try:
        return check_call({"args": args, "kwargs": kwargs} | ({"extras": extras} if extras else {}))
    except PayloadError as error:
        raise Fault("args", f"cannot be carried: {error}") from None


def _priority(tree: JsonObject) -> int:
    priority = whole(tree, "priority", default=0)
    if abs(priority) > MAX_PRIORITY:
        raise Fault("priority", f"must be a whole number from {-MAX_PRIORITY:,} to {MAX_PRIORITY:,}")
    return priority


def _read_new_owner(tree: JsonObject) -> Owner:
    return Owner(type=named(tree, "type"), id=named(tree, "id"))


def load_owner(owner_type: str, owner_id: str) -> Owner:
    """The owner that a URL names; raises InvalidRequest."""
    try:
        return _read_new_owner({"type": owner_type, "id": owner_id})
    except Fault as fault:
        raise InvalidRequest(f"the owner's {fault}", path=fault.path) from None
