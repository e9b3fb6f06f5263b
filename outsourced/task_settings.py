"""The few settings of an application that tasks go by, wherever they are called.

The server supplies those of its app; where nobody does, the defaults hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from outsourced import conf


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """Celery's names without `task_`."""

    always_eager: bool = False  #: `delay` and its kin run the task here and now
    eager_propagates: bool = False  #: and what it raises is raised by the call
    timezone: tzinfo = UTC  #: of a naive `eta`


_DEFAULTS = TaskSettings()
_IN_CELERY = {
    "always_eager": "task_always_eager",
    "eager_propagates": "task_eager_propagates",
    "timezone": "timezone",
}
_in_force: ContextVar[TaskSettings | None] = ContextVar("outsourced_task_settings", default=None)
_providers: list[Callable[[], TaskSettings | None]] = []


def current() -> TaskSettings:
    """The settings in force here; what an app of Celery's shape has written goes before the server's."""
    settings = _in_force.get()
    if settings is not None:
        return settings
    provided = (provide() for provide in _providers)
    settings = next((one for one in provided if one is not None), _DEFAULTS)
    written = {
        name: value
        for name, setting in _IN_CELERY.items()
        if (value := conf.in_force().as_written(setting)) is not None
    }
    if "timezone" in written:
        written["timezone"] = _zone(written["timezone"])
    return replace(settings, **written) if written else settings


def _zone(named: tzinfo | str) -> tzinfo:
    return ZoneInfo(named) if isinstance(named, str) else named


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
