"""What a task may say of itself while it runs: Celery's custom states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outsourced.celery_states import READY_STATES, STARTED
from outsourced.payload import describe_failure, encode_meta, told_of
from outsourced.records import Failure, Progress

#: the state of a task that says how far it is
PROGRESS = "PROGRESS"
#: characters of a state's name
MAX_STATE = 255


def progress_of(state: str | None, meta: Any) -> Progress:
    """The progress; None stands for STARTED. Raises TypeError, ValueError or PayloadError."""
    state = STARTED if state is None else state
    if not isinstance(state, str):
        raise TypeError(f"state is text, not {state!r}")
    trouble = trouble_with(state)
    if trouble is not None:
        raise ValueError(f"{state[:80]!r} {trouble}")
    return Progress(state=state, meta=encode_meta(meta))


def failure_told(meta: Any) -> Failure:
    """The failure that a task tells of before it raises Ignore: an exception, or what Celery keeps of one.

    That is a mapping with `exc_type`, `exc_message` (text, or several) and perhaps `exc_module`.
    """
    if isinstance(meta, BaseException):
        return describe_failure(meta)
    told = meta if isinstance(meta, Mapping) else {}
    name, module = str(told.get("exc_type", "Exception")), told.get("exc_module", "builtins")
    message = told.get("exc_message", "" if meta is None else meta)
    lines = message if isinstance(message, list | tuple) else [message]
    return told_of(
        name if module == "builtins" else f"{module}.{name}",
        "\n".join(map(str, lines)),
    )


def trouble_with(state: str) -> str | None:
    """Why a task cannot say to be in this state; None: it can."""
    if state in READY_STATES:
        return "is how a job ends, not what it shows while it runs: return, or raise"
    if not 0 < len(state) <= MAX_STATE or "\0" in state:
        return f"must be a name of 1 to {MAX_STATE} characters, without NUL"
    return None
