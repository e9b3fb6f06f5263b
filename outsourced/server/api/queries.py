"""What a query string may say, read and checked; raises InvalidRequest that names the parameter."""

from __future__ import annotations

from flask import request

from outsourced.errors import InvalidRequest
from outsourced.records import Owner
from outsourced.states import State

#: jobs on a page: by default, and at most
PAGE, MAX_PAGE = 50, 500
#: seconds a request may wait for a job's end
MAX_WAIT = 60


def waiting_time() -> float:
    """`wait`: seconds, 0 by default."""
    text = request.args.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_WAIT:
        raise InvalidRequest(f"wait must be a number of seconds from 0 to {MAX_WAIT}", path="wait")
    return seconds


def flag(name: str) -> bool:
    """A yes or no, spelled true or false; no by default."""
    text = request.args.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidRequest(f"{name} must be true or false", path=name)
    return text == "true"


def page_size() -> int:
    """`limit`: jobs on a page."""
    return _number("limit", limit=MAX_PAGE) or PAGE


def cursor() -> int | None:
    """`cursor`: where the page begins, from the answer with the page before."""
    return _number("cursor", limit=2**62)


def owner() -> Owner | None:
    """`owner`: Type:id."""
    text = request.args.get("owner")
    if text is None:
        return None
    kind, _, key = text.partition(":")
    if not (kind and key):
        raise InvalidRequest("owner must be Type:id", path="owner")
    return Owner(type=kind, id=key)


def state() -> State | None:
    """`state`: one of ours."""
    text = request.args.get("state")
    try:
        return None if text is None else State(text)
    except ValueError:
        raise InvalidRequest(f"state must be one of {', '.join(State)}", path="state") from None


def _number(name: str, *, limit: int) -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= limit):
        raise InvalidRequest(f"{name} must be a whole number from 1 to {limit:,}", path=name)
    return int(text)
