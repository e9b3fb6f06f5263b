"""The jobs of a Thing, as far as the asking client has enqueued them."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from outsourced.server.api.messages import json_answer
from outsourced.server.api.queries import cursor, page_size
from outsourced.server.services import here
from outsourced.sql import producing
from outsourced.wire.jobs import job_tree
from outsourced.wire.new_jobs import load_owner


def register(bp: Blueprint) -> None:
    """Adds the rules. An id may hold slashes."""
    bp.get("/v1/owners/<owner_type>/<path:owner_id>/jobs")(owned_jobs)
    bp.post("/v1/owners/<owner_type>/<path:owner_id>/cancel")(cancel_owned)


def owned_jobs(owner_type: str, owner_id: str) -> ResponseReturnValue:
    """How many there are by state, and a page of them, newest first."""
    services, owner = here(), load_owner(owner_type, owner_id)
    client = services.require_client()
    counts = producing.count_of(services.backend, client, owner)
    jobs, following = producing.listing(
        services.backend, client, owner=owner, before=cursor(), limit=page_size()
    )
    return json_answer(
        {
            "counts": {state.value: number for state, number in counts.items()},
            "jobs": [job_tree(job) for job in jobs],
            "cursor": following,
        }
    )


def cancel_owned(owner_type: str, owner_id: str) -> ResponseReturnValue:
    """Cancels all that have not ended, or asks their workers to stop."""
    services = here()
    owner = load_owner(owner_type, owner_id)
    done = producing.cancel_of(services.backend, services.require_client(), owner)
    return json_answer({"cancelled": done.cancelled, "cancelling": done.cancelling})
