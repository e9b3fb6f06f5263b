"""Errors as `application/problem+json` (RFC 9457). Clients get the code and the facts, never a traceback."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from outsourced.errors import (
    AuthenticationFailed,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    OutsourcedError,
    TooLarge,
)
from outsourced.server import limits

log = logging.getLogger(__name__)

#: codes of the errors that Werkzeug raises; others are named after the status
_CODES = {
    400: "invalid_request",
    422: "invalid_request",
}
#: seconds a client should stay away when the database cannot be reached
RETRY_AFTER = 1


def from_error(error: OutsourcedError) -> Response:
    """The answer to one of our own errors."""
    # a server set up wrongly is not broken: once that is mended, the same request goes through
    status = 503 if isinstance(error, ConfigurationError) else error.status
    response = _problem(status, error.code, _detail(error), facts=error.facts)
    if status >= 500:
        log.warning("%s %s answered %d %s: %s", request.method, request.path, status, error.code, error)
    retry_after = error.facts.get(
        "retry_after", RETRY_AFTER if isinstance(error, BackendUnavailable) else None
    )
    if retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(retry_after))
    if isinstance(error, AuthenticationFailed):
        response.headers["WWW-Authenticate"] = _challenge(error)
    return response


def from_http_error(error: HTTPException) -> ResponseReturnValue:
    """The answer to an error that Flask or Werkzeug raised, with its headers (`Allow` above all)."""
    if error.response is not None:
        return error.get_response()
    status = error.code or 500
    if status == TooLarge.status:
        return from_error(limits.refusal())
    code = _CODES.get(status, error.name.lower().replace(" ", "_"))
    response = _problem(status, code, error.description or error.name, facts={})
    for name, value in error.get_headers(request.environ):
        if name.lower() != "content-type":
            response.headers[name] = value
    return response


def from_bug(error: Exception) -> Response:
    """The answer to anything else; the log has the traceback."""
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return _problem(500, "internal_error", "the server failed at this; its log says why", facts={})


def _problem(status: int, code: str, detail: str, *, facts: dict[str, Any]) -> Response:
    document = facts | {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    body = orjson.dumps(document, default=str)
    return Response(body, status=status, content_type="application/problem+json")


def _detail(error: OutsourcedError) -> str:
    if type(error) in (BackendError, BackendUnavailable):  # the driver's words name hosts and users
        return str(type(error)())
    return str(error)


def _challenge(error: AuthenticationFailed) -> str:
    """RFC 6750 §3: a request without credentials is told the scheme only."""
    if "Authorization" not in request.headers:
        return 'Bearer realm="outsourced"'
    description = str(error).translate({ord('"'): "'", ord("\\"): "/"}).encode("ascii", "replace").decode()
    return f'Bearer realm="outsourced", error="invalid_token", error_description="{description}"'
