"""Jobs of producers elsewhere: clients enqueue and look after their own, tasks those under their lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from outsourced.errors import InvalidRequest, NotFound
from outsourced.records import Job, Owner
from outsourced.server.api.messages import json_answer, send_stored
from outsourced.server.api.mine import Children, Mine, OwnJobs
from outsourced.server.api.new_jobs import read_job, read_jobs
from outsourced.server.services import Services, here
from outsourced.sql import producing
from outsourced.states import State
from outsourced.wire.jobs import history_tree, job_tree

#: jobs on a page: by default, and at most
PAGE, MAX_PAGE = 50, 500
#: seconds a request may wait for a job's end
MAX_WAIT = 60


def register(bp: Blueprint) -> None:
    """Adds the rules: a client's jobs and a leased job's children answer alike."""
    for place, mine in (("/v1/jobs", OwnJobs), ("/v1/leases/<uuid:lease_id>/jobs", Children)):
        for method, path, view in (
            ("POST", "", enqueue),
            ("POST", "/batch", enqueue_batch),
            ("GET", "/<uuid:job_id>", show),
            ("GET", "/<uuid:job_id>/history", history),
            ("POST", "/<uuid:job_id>/cancel", cancel),
            ("GET", "/<uuid:job_id>/files/<name>", fetch_file),
        ):
            endpoint = f"{mine.__name__}_{view.__name__}"
            bp.add_url_rule(place + path, endpoint, _of(mine, view), methods=[method])
    bp.get("/v1/jobs")(list_jobs)


def _of(mine: Callable[..., Mine], view: Callable[..., ResponseReturnValue]) -> Callable[..., Any]:
    """The view, for the jobs that are the caller's."""

    def answer(**values: Any) -> ResponseReturnValue:
        services = here()
        lease = {"lease_id": values.pop("lease_id")} if "lease_id" in values else {}
        return view(services, mine(services, **lease), **values)

    return answer


def enqueue(services: Services, mine: Mine) -> ResponseReturnValue:
    """Enqueues one job: JSON, or multipart with its attachment."""
    job, key = read_job(services)
    (job_id,) = mine.enqueue([job], key)
    response = json_answer({"id": job_id}, status=201)
    response.headers["Location"] = f"{request.base_url}/{job_id}"
    return response


def enqueue_batch(services: Services, mine: Mine) -> ResponseReturnValue:
    """Enqueues many jobs, or none."""
    jobs, key = read_jobs()
    return json_answer({"ids": mine.enqueue(jobs, key)}, status=201)


def show(services: Services, mine: Mine, job_id: UUID) -> ResponseReturnValue:
    """The job; with `?wait=s`, once it has ended, or as it stands after `s` seconds."""
    _found(mine.find(job_id))
    return json_answer(job_tree(_found(services.wait_for(job_id, _wait()))))


def history(services: Services, mine: Mine, job_id: UUID) -> ResponseReturnValue:
    """Every transition of the job."""
    _found(mine.find(job_id))
    return json_answer(history_tree(services.backend.history(job_id)))


def cancel(services: Services, mine: Mine, job_id: UUID) -> ResponseReturnValue:
    """Cancels the job, or asks its worker to stop; the job as it then stands."""
    _found(mine.find(job_id))
    return json_answer(job_tree(_found(services.backend.cancel(job_id, actor=mine.actor))))


def fetch_file(services: Services, mine: Mine, job_id: UUID, name: str) -> ResponseReturnValue:
    """A file that the job's task has saved."""
    stored = next((file for file in _found(mine.find(job_id)).files if file.name == name), None)
    if stored is None:
        raise NotFound(f"the job saved no file {name!r}")
    return send_stored(stored, services.backend.path_of_file(job_id, name))


def list_jobs() -> ResponseReturnValue:
    """The client's jobs, newest first, a page at a time."""
    services = here()
    jobs, cursor = producing.listing(
        services.backend,
        services.require_client(),
        queue=request.args.get("queue"),
        state=_state(),
        task=request.args.get("task"),
        owner=_owner(),
        before=_number("cursor", limit=2**62),
        limit=_number("limit", limit=MAX_PAGE) or PAGE,
    )
    return json_answer({"jobs": [job_tree(job) for job in jobs], "cursor": cursor})


def _found(job: Job | None) -> Job:
    if job is None:
        raise NotFound("there is no such job, or it is not yours")
    return job


def _wait() -> float:
    text = request.args.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_WAIT:
        raise InvalidRequest(f"wait must be a number of seconds from 0 to {MAX_WAIT}", path="wait")
    return seconds


def _number(name: str, *, limit: int) -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= limit):
        raise InvalidRequest(f"{name} must be a whole number from 1 to {limit:,}", path=name)
    return int(text)


def _owner() -> Owner | None:
    text = request.args.get("owner")
    if text is None:
        return None
    kind, _, key = text.partition(":")
    if not (kind and key):
        raise InvalidRequest("owner must be Type:id", path="owner")
    return Owner(type=kind, id=key)


def _state() -> State | None:
    text = request.args.get("state")
    try:
        return None if text is None else State(text)
    except ValueError:
        raise InvalidRequest(f"state must be one of {', '.join(State)}", path="state") from None
