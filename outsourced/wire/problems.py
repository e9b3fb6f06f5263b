"""An answer that is not a success, as the error it stands for.

The server's own refusals are problem documents (RFC 9457) whose `code` names the class. Whatever
else arrives comes from something in between (a proxy, a filter, a captive portal), says nothing of
the job or the worker, and is BackendUnavailable: trying again is safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from outsourced.errors import (
    BY_CODE,
    AuthenticationFailed,
    BackendUnavailable,
    Forbidden,
    InvalidRequest,
    NotFound,
    OutsourcedError,
    TooLarge,
    TooManyRequests,
)

#: members of a problem document that are not facts of the error
_STANDARD = frozenset({"type", "title", "status", "detail", "instance", "code", "message", "self"})
#: for a code this version does not know: what the status alone tells
_BY_STATUS: dict[int, type[OutsourcedError]] = {
    401: AuthenticationFailed,
    403: Forbidden,
    404: NotFound,
    408: BackendUnavailable,
    413: TooLarge,
    429: TooManyRequests,
}
_SHOWN = 120


def error_from_answer(status: int, headers: Mapping[str, str], body: bytes, *, url: str) -> OutsourcedError:
    """The error that an HTTP answer stands for; `headers` must ignore case, as `requests` gives them."""
    problem = _problem_in(body)
    if problem is None:
        return _foreign_answer(status, headers, body, url=url)
    facts = {name: value for name, value in problem.items() if name not in _STANDARD}
    if "retry_after" not in facts and headers.get("Retry-After", "").isdecimal():
        facts["retry_after"] = float(headers["Retry-After"])
    message = problem.get("detail") or problem.get("title")
    return _class_for(problem["code"], status)(str(message) if message else None, **facts)


def _problem_in(body: bytes) -> dict[str, Any] | None:
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    is_problem = isinstance(tree, dict) and isinstance(tree.get("code"), str)
    return tree if is_problem else None


def _class_for(code: str, status: int) -> type[OutsourcedError]:
    if code in BY_CODE:
        return BY_CODE[code]
    return _BY_STATUS.get(status, BackendUnavailable if status >= 500 else InvalidRequest)


def _foreign_answer(status: int, headers: Mapping[str, str], body: bytes, *, url: str) -> OutsourcedError:
    kind = headers.get("Content-Type", "no content type")
    answer = f"{url} answered {status} with {kind}, not as an outsourced server does"
    excerpt = " ".join(body[: 4 * _SHOWN].decode("utf-8", "replace").split())[:_SHOWN]
    facts = {"url": url, "http_status": status, "content_type": kind}
    if status == 413:
        return TooLarge(
            f"{answer}: a web server or proxy before it refuses bodies of this size; raise the limit there "
            "(nginx: client_max_body_size)",
            **facts,
        )
    return BackendUnavailable(f"{answer}: {_hint(status, headers)} ({excerpt!r})", **facts)


def _hint(status: int, headers: Mapping[str, str]) -> str:
    if status == 407:
        return "the proxy asks for a login: write it into `proxy:` as http://user:password@host:port"
    if status in (401, 403):
        asked = headers.get("WWW-Authenticate", "nothing said")
        return f"a proxy or firewall in between refuses ({asked})"
    if status == 404:
        return "is `url:` right, with its prefix?"
    if status < 400:
        return "a captive portal, or something else in between, answers in its place"
    return "a proxy in between answers in its place, or the server is starting"
