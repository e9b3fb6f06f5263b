"""`POST /v1/leases`: the exchange."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from outsourced.server.api import parking
from outsourced.server.api.messages import json_answer, json_body, name_protocol, require_caller
from outsourced.server.services import here
from outsourced.wire import dump_reply, load_exchange


def register(bp: Blueprint) -> None:
    """Adds the rule."""
    bp.after_request(name_protocol)
    bp.post("/v1/leases")(exchange)


def exchange() -> ResponseReturnValue:
    """Records what a worker reports, and hands out leases for what it asks."""
    services = here()
    # the exchange's own transaction reads the worker and its epoch
    worker = require_caller(services, fresh=False)
    said = load_exchange(json_body())
    return json_answer(dump_reply(parking.exchange(services, worker, said)))
