"""Celery's settings: which of them mean something here, and the ones in force.

The configuration of the server itself is `OUTSOURCED_*`; these are what an app in Celery's shape brings.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from datetime import UTC, timedelta, tzinfo
from types import MappingProxyType
from typing import Any

log = logging.getLogger(__name__)

#: what takes effect, and its value where nothing is configured
EFFECTIVE: Mapping[str, Any] = MappingProxyType(
    {
        "timezone": None,
        "enable_utc": True,
        "imports": (),
        "include": (),
        "beat_schedule": MappingProxyType({}),
        "task_annotations": None,
        "task_default_queue": None,
        "task_default_priority": None,
        "task_routes": None,
        "task_always_eager": False,
        "task_eager_propagates": False,
        "task_ignore_result": False,
        "task_time_limit": None,
        "task_soft_time_limit": None,
        "task_default_rate_limit": None,
        "result_expires": None,  # None: OUTSOURCED_RETENTION
        "worker_concurrency": None,
        "worker_max_tasks_per_child": None,
        "worker_max_memory_per_child": None,
    }
)
#: what is so in any case, given that value
_ALWAYS: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "task_serializer": ("json",),
        "result_serializer": ("json",),
        "event_serializer": ("json",),
        "task_acks_late": (True,),
        "task_track_started": (True,),
        "task_create_missing_queues": (False,),
        "result_persistent": (True,),
        "result_extended": (True,),
        "worker_hijack_root_logger": (False,),
        "broker_connection_retry_on_startup": (True,),
    }
)
#: how Celery's own settings begin; any other is the app's, and its own affair
_CELERYS = (
    "accept_", "beat_", "broker_", "cache_", "control_", "database_", "event_", "redis_", "result_",
    "security_", "task_", "worker_",
)  # fmt: skip
#: names from before Celery 4
_OLD: Mapping[str, str] = MappingProxyType(
    {
        "CELERYBEAT_SCHEDULE": "beat_schedule",
        "CELERYD_CONCURRENCY": "worker_concurrency",
        "CELERYD_MAX_TASKS_PER_CHILD": "worker_max_tasks_per_child",
        "CELERYD_TASK_SOFT_TIME_LIMIT": "task_soft_time_limit",
        "CELERYD_TASK_TIME_LIMIT": "task_time_limit",
        "CELERY_ACKS_LATE": "task_acks_late",
        "CELERY_ALWAYS_EAGER": "task_always_eager",
        "CELERY_ANNOTATIONS": "task_annotations",
        "CELERY_DEFAULT_RATE_LIMIT": "task_default_rate_limit",
        "CELERY_DEFAULT_QUEUE": "task_default_queue",
        "CELERY_EAGER_PROPAGATES_EXCEPTIONS": "task_eager_propagates",
        "CELERY_IGNORE_RESULT": "task_ignore_result",
        "CELERY_ROUTES": "task_routes",
        "CELERY_TASK_RESULT_EXPIRES": "result_expires",
        "CELERY_TRACK_STARTED": "task_track_started",
    }
)


class Conf(MutableMapping[str, Any]):
    """Settings by item and by attribute. All are kept; those without effect are logged once."""

    _values: dict[str, Any]
    _mentioned: set[str]

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "_values", {})
        object.__setattr__(self, "_mentioned", set())
        self.update(values or {})

    def __getitem__(self, name: str) -> Any:
        return self._values[name] if name in self._values else EFFECTIVE[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**EFFECTIVE, **self._values})

    def __len__(self) -> int:
        return len({**EFFECTIVE, **self._values})

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            if name.startswith(_CELERYS):
                return None  # one of Celery's, without a meaning here
            raise AttributeError(f"there is no setting {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def update(self, *given: Any, **named: Any) -> None:
        """Adds settings, by their names of today, with `CELERY_`, or in their old upper case.

        Upper-case names that are none of Celery's, as in a Flask app's config, are left alone.
        """
        found = {
            setting: value
            for name, value in dict(*given, **named).items()
            if (setting := _setting(name)) is not None
        }
        self._values.update(found)
        self._mention(found)

    def as_written(self, name: str) -> Any:
        """The setting if it was configured, else None."""
        return self._values.get(name)

    @property
    def zone(self) -> tzinfo | str:
        """The time zone of crontabs, as it was given: UTC unless `timezone` says otherwise."""
        return self._values.get("timezone") or UTC

    @property
    def modules(self) -> list[str]:
        """What `imports` and `include` name."""
        return [*_names(self["imports"]), *_names(self["include"])]

    @property
    def results_kept_for(self) -> timedelta | None:
        """`result_expires`; None where it says nothing, or that results are kept for ever."""
        kept = self["result_expires"]
        return timedelta(seconds=kept) if isinstance(kept, (int, float)) and kept else kept or None

    def _mention(self, found: Mapping[str, Any]) -> None:
        idle = sorted(
            name
            for name, value in found.items()
            if name.startswith(_CELERYS) and not _has_effect(name, value) and name not in self._mentioned
        )
        if idle and multiprocessing.parent_process() is None:  # a pool's processes would each say it again
            self._mentioned.update(idle)
            log.warning(
                "no effect here: %s (jobs are in the app's database and come over HTTP, as JSON)",
                ", ".join(idle),
            )


def _has_effect(name: str, value: Any) -> bool:
    if name in ("accept_content", "result_accept_content"):
        return "json" in value or "application/json" in value
    return name in EFFECTIVE or value in _ALWAYS.get(name, ())


def _setting(name: str) -> str | None:
    """The setting's name of today; None for what is none of Celery's."""
    if name in _OLD:
        return _OLD[name]
    if name.startswith("CELERY_"):
        return name.removeprefix("CELERY_").lower()
    lower = name.lower()
    if name == lower or lower in EFFECTIVE or (name.isupper() and lower.startswith(_CELERYS)):
        return lower
    return None


def _names(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


_UNCONFIGURED = Conf()
_providers: list[Callable[[], Conf | None]] = []


def in_force() -> Conf:
    """The settings of the current app; empty ones where there is none."""
    for provide in _providers:
        found = provide()
        if found is not None:
            return found
    return _UNCONFIGURED


def add_provider(provide: Callable[[], Conf | None]) -> None:
    """Registers how to find the settings in force."""
    _providers.append(provide)
