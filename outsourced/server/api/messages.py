"""What every view of the API asks of a request before it looks at it."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response, request

from outsourced.errors import UnsupportedMediaType, WorkerTooOld
from outsourced.records import WorkerIdentity
from outsourced.server.services import Services
from outsourced.wire.headers import PROTOCOL, PROTOCOL_HEADER


def require_caller(services: Services, *, fresh: bool = True) -> WorkerIdentity:
    """The worker that asks, in a version of the protocol we speak; see `Services.require_worker`."""
    spoken = request.headers.get(PROTOCOL_HEADER, "none")
    if spoken.partition(".")[0].strip() != PROTOCOL:
        raise WorkerTooOld(
            f"this server speaks version {PROTOCOL} of the protocol, named in the header {PROTOCOL_HEADER}; "
            f"the worker speaks {spoken[:20]}",
            protocol=PROTOCOL,
        )
    return services.require_worker(fresh=fresh)


def json_body() -> bytes:
    """The body, which must say that it is JSON; one too large is refused before it is read."""
    if request.mimetype != "application/json":
        raise UnsupportedMediaType(
            f"send the body as Content-Type: application/json, not {request.mimetype or 'without one'}"
        )
    return request.get_data(cache=False)


def json_answer(tree: Any, *, status: int = 200) -> Response:
    """An answer in JSON; bytes are JSON already."""
    body = tree if isinstance(tree, bytes) else orjson.dumps(tree)
    return Response(
        body, status=status, content_type="application/json", headers={"Cache-Control": "no-store"}
    )


def name_protocol(response: Response) -> Response:
    """Says on every answer, refusals too, what we speak."""
    response.headers[PROTOCOL_HEADER] = PROTOCOL
    return response
