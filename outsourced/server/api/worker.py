"""`GET /v1/worker`: who am I."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from outsourced.server.api.messages import json_answer, require_caller
from outsourced.server.services import here
from outsourced.sql import standing


def register(bp: Blueprint) -> None:
    """Adds the rule."""
    bp.get("/v1/worker")(who_am_i)


def who_am_i() -> ResponseReturnValue:
    """The worker's name and state, and the queues it is hired for."""
    services = here()
    worker = require_caller(services)
    return json_answer(standing.read(services.database, worker))
