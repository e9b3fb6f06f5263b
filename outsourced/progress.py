"""What a task may say of itself while it runs: Celery's custom states."""

from __future__ import annotations

from typing import Any

from outsourced.celery_states import READY_STATES, STARTED
from outsourced.payload import encode_meta
from outsourced.records import Progress

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


def trouble_with(state: str) -> str | None:
    """Why a task cannot say to be in this state; None: it can."""
    if state in READY_STATES:
        return "is how a job ends, not what it shows while it runs: return, or raise"
    if not 0 < len(state) <= MAX_STATE or "\0" in state:
        return f"must be a name of 1 to {MAX_STATE} characters, without NUL"
    return None
