"""Celery's names of states, for code that compares `AsyncResult.state` with them.

What was `from celery import states` is `from outsourced import celery_states as states`. The states that
jobs have here are in `outsourced.states`, and say more.
"""

from __future__ import annotations

PENDING = "PENDING"
RECEIVED = "RECEIVED"
STARTED = "STARTED"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
REJECTED = "REJECTED"
RETRY = "RETRY"
IGNORED = "IGNORED"

READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
ALL_STATES = frozenset({PENDING, RECEIVED, STARTED, SUCCESS, FAILURE, RETRY, REVOKED})

#: the highest first; a state of the application's own comes where None is
PRECEDENCE = (SUCCESS, FAILURE, None, REVOKED, STARTED, RECEIVED, REJECTED, RETRY, PENDING)
NONE_PRECEDENCE = PRECEDENCE.index(None)


def precedence(state: str | None) -> int:
    """The place of a state in PRECEDENCE: 0 is the highest."""
    return PRECEDENCE.index(state) if state in PRECEDENCE else NONE_PRECEDENCE
