"""Jobs of producers elsewhere: clients enqueue and look after their own, tasks those under their lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import orjson
from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from outsourced.errors import NotFound
from outsourced.records import Job
from outsourced.server.api.messages import json_answer, json_body
from outsourced.server.api.mine import Children, Mine, OwnJobs
from outsourced.server.api.new_jobs import read_job, read_jobs
from outsourced.server.api.queries import cursor, flag, owner, page_size, state, waiting_time
from outsourced.server.api.sending import send_stored
from outsourced.server.services import Services, here
from outsourced.sql import producing
from outsourced.wire.groups import load_group
from outsourced.wire.jobs import history_tree, job_tree


def register(bp: Blueprint) -> None:
    """Adds the rules: a client's jobs and a leased job's children answer alike."""
    for place, mine in (("/v1/jobs", OwnJobs), ("/v1/leases/<uuid:lease_id>/jobs", Children)):
        for method, path, view in (
            ("POST", "", enqueue),
            ("POST", "/batch", enqueue_batch),
            ("GET", "/<uuid:job_id>", show),
            ("GET", "/<uuid:job_id>/history", history),
            ("GET", "/<uuid:job_id>/children", children),
            ("POST", "/<uuid:job_id>/cancel", cancel),
            ("POST", "/<uuid:job_id>/forget", forget),
            ("POST", "/groups/<uuid:group_id>", save_group),
            ("GET", "/groups/<uuid:group_id>", show_group),
            ("POST", "/groups/<uuid:group_id>/forget", forget_group),
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

    answer.__doc__ = view.__doc__
    return answer


def enqueue(services: Services, mine: Mine) -> ResponseReturnValue:
    """Enqueues one job: JSON, or multipart with its attachment."""
    job, key = read_job(services)
    (job_id,) = mine.enqueue([job], key)
    response = json_answer({"id": job_id}, status=201)
    response.headers["Location"] = f"jobs/{job_id}"  # relative: what a proxy calls us, we may not know
    return response


def enqueue_batch(services: Services, mine: Mine) -> ResponseReturnValue:
    """Enqueues many jobs, or none."""
    jobs, key = read_jobs()
    return json_answer({"ids": mine.enqueue(jobs, key)}, status=201)


def show(services: Services, mine: Mine, job_id: UUID) -> ResponseReturnValue:
    """The job; with `?wait=s`, once it has ended, or as it stands after `s` seconds."""
    _found(mine.find(job_id))
    return json_answer(job_tree(_found(services.wait_for(job_id, waiting_time()))))


def history(services: Services, mine: Mine, job_id: UUID) -> ResponseReturnValue:
    """Every transition of the job."""
    _found(mine.find(job_id))
    return json_answer(history_tree(services.backend.history(job_id)))


def cancel(services: Services, mine: Mine, job_id: UUID) -> ResponseReturnValue:
    """Cancels the job, or asks its worker to stop; the job as it then stands."""
    _found(mine.find(job_id))
    job = services.backend.cancel(job_id, unless_begun=flag("unless_begun"), actor=mine.actor)
    return json_answer(job_tree(_found(job)))


def children(services: Services, mine: Mine, job_id: UUID) -> ResponseReturnValue:
    """The ids of what the job's task has enqueued and what comes after the job, of the caller's jobs."""
    _found(mine.find(job_id))
    return json_answer({"children": mine.children(job_id)})


def forget(services: Services, mine: Mine, job_id: UUID) -> ResponseReturnValue:
    """Keeps the job's result no longer; the job as it then stands."""
    _found(mine.find(job_id))
    return json_answer(job_tree(_found(services.backend.forget(job_id))))


def save_group(services: Services, mine: Mine, group_id: UUID) -> ResponseReturnValue:
    """Keeps the ids of a group's results."""
    services.backend.save_group(group_id, load_group(json_body()), scope=mine.scope)
    return json_answer({"id": group_id})


def show_group(services: Services, mine: Mine, group_id: UUID) -> ResponseReturnValue:
    """A group that the caller has saved."""
    members = services.backend.group(group_id, scope=mine.scope)
    if members is None:
        raise NotFound("no such group is saved, or it is not yours")
    return json_answer({"group": orjson.Fragment(members)})


def forget_group(services: Services, mine: Mine, group_id: UUID) -> ResponseReturnValue:
    """Keeps a group no longer."""
    services.backend.forget_group(group_id, scope=mine.scope)
    return json_answer({"id": group_id})


def fetch_file(services: Services, mine: Mine, job_id: UUID, name: str) -> ResponseReturnValue:
    """A file that the job's task has saved."""
    _found(mine.find(job_id))
    return send_stored(services, *services.backend.saved_file(job_id, name))


def list_jobs() -> ResponseReturnValue:
    """The client's jobs, newest first, a page at a time."""
    services = here()
    jobs, following = producing.listing(
        services.backend,
        services.require_client(),
        queue=request.args.get("queue"),
        state=state(),
        task=request.args.get("task"),
        owner=owner(),
        before=cursor(),
        limit=page_size(),
    )
    return json_answer({"jobs": [job_tree(job) for job in jobs], "cursor": following})


def _found(job: Job | None) -> Job:
    if job is None:
        raise NotFound("there is no such job, or it is not yours")
    return job
