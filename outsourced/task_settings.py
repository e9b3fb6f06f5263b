"""The few settings of an application that tasks go by, wherever they are called.

The server supplies those of its app; where nobody does, the defaults hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """Celery's names without `task_`."""

    always_eager: bool = False  #: `delay` and its kin run the task here and now
    eager_propagates: bool = False  #: and what it raises is raised by the call
    timezone: tzinfo = UTC  #: of a naive `eta`


_DEFAULTS = TaskSettings()
_in_force: ContextVar[TaskSettings | None] = ContextVar("outsourced_task_settings", default=None)
_providers: list[Callable[[], TaskSettings | None]] = []


def current() -> TaskSettings:
    """The settings in force here."""
    settings = _in_force.get()
    if settings is not None:
        return settings
    for provide in _providers:
        settings = provide()
        if settings is not None:
            return settings
    return _DEFAULTS


@contextmanager
def use(settings: TaskSettings) -> Iterator[None]:
    """Puts settings in force inside the block, in this context only."""
    token = _in_force.set(settings)
    try:
        yield
    finally:
        _in_force.reset(token)


def add_provider(provide: Callable[[], TaskSettings | None]) -> None:
    """Registers how to find the settings where none are set explicitly."""
    if provide not in _providers:
        _providers.append(provide)


def localized(moment: datetime) -> datetime:
    """The moment, a naive one in the application's time zone."""
    return moment.replace(tzinfo=current().timezone) if moment.tzinfo is None else moment
