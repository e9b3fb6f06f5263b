"""Signals: functions of the application, called when something happens to a task or a worker.

    @task_failure.connect
    def tell(sender=None, task_id=None, exception=None, **kwargs): ...

The names and the keyword arguments are Celery's. Publishing signals are sent where a job is enqueued,
all others in the worker's processes. A receiver that raises is logged, and harms nobody.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Hashable
from types import MethodType
from typing import Any, Literal, NamedTuple, TypeVar, overload

log = logging.getLogger(__name__)

Receiver = Callable[..., Any]
F = TypeVar("F", bound=Receiver)


class _Connection(NamedTuple):
    """A receiver, held weakly or not, and whom it listens to."""

    key: Hashable
    sender: Any  #: None: anybody
    get: Callable[[], Receiver | None]


class Signal:
    """Something that happens; `connect` a function to be told."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._connections: tuple[_Connection, ...] = ()

    def __repr__(self) -> str:
        return f"<Signal {self.name}>"

    @property
    def receivers(self) -> tuple[Receiver, ...]:
        """The functions that are connected; as long as it is empty, sending costs nothing."""
        found = (connection.get() for connection in self._connections)
        return tuple(receiver for receiver in found if receiver is not None)

    @overload
    def connect(
        self, receiver: F, /, *, sender: Any = None, weak: bool = True, dispatch_uid: Hashable = None
    ) -> F: ...
    @overload
    def connect(
        self,
        receiver: None = None,
        /,
        *,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Hashable = None,
    ) -> Callable[[F], F]: ...
    def connect(
        self,
        receiver: Receiver | None = None,
        /,
        *,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Hashable = None,
    ) -> Any:
        """Calls the receiver from now on; also a decorator, with or without arguments.

        Of this sender only, if one is given. Held weakly unless `weak=False`: a function that nobody else
        keeps is forgotten. Connecting the same function twice, or the same `dispatch_uid`, is once.
        """

        def join(receiver: F) -> F:
            key = _key(receiver, sender, dispatch_uid)
            get = _weakly(receiver) if weak else lambda: receiver
            # a new function may have the place in memory, and so the key, of one that is gone
            alive = tuple(one for one in self._connections if one.get() is not None)
            if all(connection.key != key for connection in alive):
                self._connections = (*alive, _Connection(key, sender, get))
            return receiver

        return join if receiver is None else join(receiver)

    def disconnect(
        self, receiver: Receiver | None = None, sender: Any = None, dispatch_uid: Hashable = None
    ) -> bool:
        """Calls it no more; False if it was not connected."""
        key = _key(receiver, sender, dispatch_uid)
        left = tuple(connection for connection in self._connections if connection.key != key)
        found = len(left) < len(self._connections)
        self._connections = left
        return found

    def has_listeners(self, sender: Any = None) -> bool:
        """Whether anybody would be told of this sender."""
        return any(
            connection.get() is not None and _hears(connection, sender) for connection in self._connections
        )

    def send(self, sender: Any, **named: Any) -> list[tuple[Receiver, Any]]:
        """Calls the receivers; gives each with what it returned, or with the exception it raised."""
        answers: list[tuple[Receiver, Any]] = []
        for connection in self._connections:
            receiver = connection.get()
            if receiver is None or not _hears(connection, sender):
                continue
            try:
                answer = receiver(signal=self, sender=sender, **named)
            except Exception as error:
                log.exception("a receiver of %s failed: %r", self.name, receiver)
                answer = error
            answers.append((receiver, answer))
        return answers

    send_robust = send


def _hears(connection: _Connection, sender: Any) -> bool:
    wanted = connection.sender
    if wanted is None or wanted is sender:
        return True
    # a task is meant by its name too: who publishes a name, and who runs it, are one sender
    if type(wanted) is str or type(sender) is str:
        name: Literal[True] | bool = getattr(wanted, "name", wanted) == getattr(sender, "name", sender)
        return name
    return False


def _key(receiver: Receiver | None, sender: Any, dispatch_uid: Hashable) -> Hashable:
    if dispatch_uid is not None:
        return dispatch_uid, id(sender)
    if isinstance(receiver, MethodType):
        return id(receiver.__self__), id(receiver.__func__), id(sender)
    return id(receiver), id(sender)


def _weakly(receiver: Receiver) -> Callable[[], Receiver | None]:
    return weakref.WeakMethod(receiver) if isinstance(receiver, MethodType) else weakref.ref(receiver)


# where jobs are enqueued
before_task_publish = Signal("before_task_publish")
after_task_publish = Signal("after_task_publish")
beat_init = Signal("beat_init")  # a server process has read what recurs: there is no beat
# where they run
task_received = Signal("task_received")
task_prerun = Signal("task_prerun")
task_postrun = Signal("task_postrun")
task_success = Signal("task_success")
task_failure = Signal("task_failure")
task_retry = Signal("task_retry")
task_revoked = Signal("task_revoked")
task_rejected = Signal("task_rejected")
task_unknown = Signal("task_unknown")
task_internal_error = Signal("task_internal_error")
# in the life of a worker
worker_init = Signal("worker_init")
worker_ready = Signal("worker_ready")
worker_process_init = Signal("worker_process_init")
worker_process_shutdown = Signal("worker_process_shutdown")
worker_shutting_down = Signal("worker_shutting_down")
worker_shutdown = Signal("worker_shutdown")
celeryd_init = Signal("celeryd_init")
celeryd_after_setup = Signal("celeryd_after_setup")
# of its logs
setup_logging = Signal("setup_logging")
after_setup_logger = Signal("after_setup_logger")
after_setup_task_logger = Signal("after_setup_task_logger")
