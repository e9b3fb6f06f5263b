"""Options that people type after `celery worker`, and that do nothing here: accepted, each with the reason.

So a start script goes on working when the name of the command in it is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

#: in the context's `meta`: what was typed, and why nothing comes of it
_KEY = f"{__name__}.typed"

_QUEUES = "the server says which queues a worker works: `flask outsourcer worker hire|fire NAME QUEUE`"
_BEAT = "the server enqueues what recurs; it takes neither a worker nor a process of its own"
_GOSSIP = "workers do not talk to each other"
_FAIR = "a worker holds what it expects to begin within a second, as with -O fair"
_PULSE = "the server says how often (OUTSOURCED_HEARTBEAT_INTERVAL)"
_TALK = "the server knows what its workers do, and keeps the history"
_BROKER = "the server's address is in the configuration file"
_LIMIT = "how long a job may run is said where it is enqueued (`gets_stuck_at`)"


class _Idle(NamedTuple):
    names: tuple[str, ...]
    reason: str
    value: bool = False


IDLE = (
    _Idle(("-Q", "--queues"), _QUEUES, value=True),
    _Idle(("-X", "--exclude-queues"), _QUEUES, value=True),
    _Idle(("-B", "--beat"), _BEAT),
    _Idle(("-s", "--schedule", "--schedule-filename"), _BEAT, value=True),
    _Idle(("--scheduler",), _BEAT, value=True),
    _Idle(("-E", "--task-events", "--events"), _TALK),
    _Idle(("-O", "--optimization"), _FAIR, value=True),
    _Idle(("--prefetch-multiplier",), _FAIR, value=True),
    _Idle(("--disable-prefetch",), _FAIR),
    _Idle(("--without-mingle",), _GOSSIP),
    _Idle(("--without-gossip",), _GOSSIP),
    _Idle(("--without-heartbeat",), "heartbeats keep a worker's jobs its own, so they stay"),
    _Idle(("--heartbeat-interval",), _PULSE, value=True),
    _Idle(("--autoscale",), "`-c` says how many jobs run at a time", value=True),
    _Idle(("--time-limit",), _LIMIT, value=True),
    _Idle(("--soft-time-limit",), _LIMIT, value=True),
    _Idle(("--purge", "--discard"), "nothing is thrown away: `flask outsourcer queue empty QUEUE` does that"),
    _Idle(("-S", "--statedb"), "what was revoked is in the server's database", value=True),
    _Idle(("-b", "--broker"), _BROKER, value=True),
    _Idle(("--result-backend",), _BROKER, value=True),
    _Idle(("--config",), _BROKER, value=True),
    _Idle(("-C", "--no-color"), "the log has no colours"),
)  # fmt: skip


def accepted(command: F) -> F:
    """Adds these options to a click command, out of sight of `--help`."""
    for idle in IDLE:
        option = partial(click.option, *idle.names, is_flag=not idle.value)
        option(expose_value=False, hidden=True, callback=_note(idle))(command)
    return command


def reasons() -> list[str]:
    """A line for each option of these that was typed: why nothing comes of it."""
    typed: list[str] = click.get_current_context().meta.get(_KEY, [])
    return typed


def _note(idle: _Idle) -> Callable[[click.Context, click.Parameter, Any], None]:
    def note(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            context.meta.setdefault(_KEY, []).append(f"{idle.names[-1]} does nothing here: {idle.reason}")

    return note
