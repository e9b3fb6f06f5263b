"""`Celery`: the app object that code of Celery's shape hangs its tasks and settings on.

It owns neither connections nor workers: jobs go to the backend in force, whatever app a task belongs to.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import cached_property
from typing import Any
from weakref import WeakSet

from outsourced import clock, conf, definition, enqueueing
from outsourced.app.annotations import annotate
from outsourced.app.control import Control
from outsourced.app.discovery import Discovery, Packages
from outsourced.app.moments import Moment
from outsourced.app.periodic import Entry, entry_of_call
from outsourced.app.source import settings_of
from outsourced.canvas import Signature, signature
from outsourced.conf import Conf
from outsourced.context import current_task
from outsourced.decorator import typed
from outsourced.registry import registry
from outsourced.results import AsyncResult
from outsourced.resultsets import GroupResult, ResultSet
from outsourced.schedules import Recurring, zone_named
from outsourced.tasks import Task

AnyTask = Task[..., Any]


class Celery:
    """Tasks, settings and schedules under one name.

    The app made last is the current one, unless another says `set_default()`: tasks of `@shared_task`
    are its tasks. `broker`, `backend` and what else names Celery's own machinery is accepted.
    """

    def __init__(
        self,
        main: str | None = None,
        *ignored: Any,
        task_cls: type[AnyTask] | str | None = None,
        include: Sequence[str] | None = None,
        config_source: Any = None,
        namespace: str | None = None,
        changes: Mapping[str, Any] | None = None,
        set_as_current: bool = True,
        **settings: Any,
    ) -> None:
        self.main = main
        self.on_after_configure = Moment(self)
        self.on_after_finalize = Moment(self)
        self._sources: list[tuple[Any, str | None]] = []
        self._conf = Conf(changes)
        self._discoveries: list[Discovery] = []
        self._entries: dict[str, Entry] = {}
        self._own_tasks: WeakSet[AnyTask] = WeakSet()
        self._is_finalized = False
        if include:
            self._conf.update(include=include)
        if config_source is not None:
            self.config_from_object(config_source, namespace=namespace)
        self._task_class = self._bound(_class_of(task_cls))
        if set_as_current:
            self.set_default()

    def __repr__(self) -> str:
        return f"<Celery {self.main or '(no name)'}>"

    # --- settings ----------------------------------------------------------------------------------------

    @property
    def conf(self) -> Conf:
        """The settings, read from their sources when they are first asked for."""
        sources, self._sources = self._sources, []
        for source, namespace in sources:
            self._conf.update(settings_of(source, namespace))
        if not self.on_after_configure.has_come:
            self.on_after_configure.come()
        return self._conf

    def config_from_object(
        self,
        source: Any,
        silent: bool = False,
        force: bool = False,
        namespace: str | None = None,
    ) -> None:
        """Takes the settings of a mapping, an object, a module or the name of one, once they are needed."""
        self._sources.append((source, namespace))
        if force:
            self.conf  # noqa: B018 - reads them

    def config_from_envvar(self, variable: str, *, namespace: str | None = None) -> None:
        """Takes the settings of the module that this environment variable names."""
        if name := os.environ.get(variable):
            self.config_from_object(name, namespace=namespace)

    # --- tasks -------------------------------------------------------------------------------------------

    @property
    def Task(self) -> type[AnyTask]:  # noqa: N802 - Celery's name
        """The class of this app's tasks; another one may be put in its place."""
        return self._task_class

    @Task.setter
    def Task(self, base: type[AnyTask]) -> None:  # noqa: N802
        self._task_class = self._bound(base)
        for task in self._own_tasks:
            definition.adopt(task, self._task_class)
        if _current is self:
            definition.share(self._task_class)

    @typed
    def task(self, *function: Callable[..., Any], name: str | None = None, **options: Any) -> Any:
        """Makes a function a task of this app; with and without parentheses."""

        def decorate(function: Callable[..., Any]) -> AnyTask:
            base, named = options.get("base"), {"name": name or self._name_of(function)}
            made: AnyTask = definition.make(function, base=base or self._task_class, options=options | named)
            if base is None:
                self._own_tasks.add(made)
            if self._is_finalized:
                annotate(self.conf["task_annotations"], [made])
            return made

        return decorate(*function) if function else decorate

    def _name_of(self, function: Callable[..., Any]) -> str | None:
        main = self.main is not None and function.__module__ == "__main__"
        return f"{self.main}.{function.__name__}" if main else None

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Enqueues a call of the task of this name, whether or not it is known here."""
        return enqueueing.send_task(name, args, kwargs, **options)

    def register_task(self, task: AnyTask, **options: Any) -> AnyTask:
        """Makes an instance of a subclass that defines `run` a task of this app; the options are attributes.

        Raises TypeError for one that is no option, TaskAlreadyRegistered.
        """
        definition.require_known(options, type(task))
        for name, value in options.items():
            setattr(task, name, value)
        task.app = self
        return definition.register(task)

    def signature(self, *args: Any, **kwargs: Any) -> Signature:
        """A call not yet made, as `outsourced.signature` makes it."""
        return signature(*args, **kwargs)

    @property
    def tasks(self) -> Tasks:
        """The tasks that are registered, by name; imports the modules they are in."""
        self.finalize()
        return Tasks()

    @property
    def current_task(self) -> Any:
        """The task that runs here; None outside of one."""
        return current_task or None

    def AsyncResult(self, id: Any) -> AsyncResult[Any]:  # noqa: N802 - Celery's name
        """What became of the job of this id."""
        return AsyncResult(id)

    def GroupResult(  # noqa: N802
        self, id: Any, results: Sequence[Any] = (), parent: Any = None
    ) -> GroupResult:
        """The result of a group."""
        return GroupResult(id, results, parent)

    def ResultSet(self, results: Sequence[Any]) -> ResultSet:  # noqa: N802
        """What became of several jobs."""
        return ResultSet(results)

    def now(self) -> datetime:
        """The present moment in the app's time zone."""
        return clock.now().astimezone(self.timezone)

    @property
    def timezone(self) -> tzinfo:
        """UTC, unless the setting `timezone` says otherwise."""
        zone = self.conf.zone
        return zone if isinstance(zone, tzinfo) else zone_named(zone)

    def close(self) -> None:
        """Nothing: it owns no connections."""

    # --- modules -----------------------------------------------------------------------------------------

    def autodiscover_tasks(
        self,
        packages: Packages | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Imports the module `tasks` of each package, once tasks are needed or, forced, at once."""
        discovery = Discovery(packages or (), related_name)
        if force or self._is_finalized:
            discovery.run()
        else:
            self._discoveries.append(discovery)

    def finalize(self, auto: bool = False) -> None:
        """Imports what settings and `autodiscover_tasks` name, and gives tasks their annotations; once."""
        if self._is_finalized:
            return
        self._is_finalized = True
        for name in self.conf.modules:
            importlib.import_module(name)
        for discovery in self._discoveries:
            discovery.run()
        annotate(self.conf["task_annotations"], self.tasks.values())
        self.on_after_finalize.come()

    def set_default(self) -> None:
        """Makes this the current app of the process."""
        global _current
        _current = self
        definition.share(self._task_class)

    set_current = set_default

    # --- schedules and workers ---------------------------------------------------------------------------

    def add_periodic_task(
        self,
        schedule: Recurring,
        sig: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        **options: Any,
    ) -> str:
        """Enqueues the task, or the signature, at each tick of the schedule; gives the entry's name."""
        entry = entry_of_call(schedule, sig, args, kwargs or {}, name, options)
        self._entries[entry.name] = entry
        return entry.name

    @property
    def periodic_tasks(self) -> list[Entry]:
        """What recurs: by `beat_schedule`, and by `add_periodic_task`, which goes first for the same name."""
        self.finalize()
        configured = {name: Entry.read(name, entry) for name, entry in self.conf.beat_schedule.items()}
        return list((configured | self._entries).values())

    @cached_property
    def control(self) -> Control:
        """Revokes jobs, and tells what workers do."""
        return Control()

    def _bound(self, base: type[AnyTask]) -> type[AnyTask]:
        """A subclass whose tasks know this app."""
        attributes = {"app": self, "__module__": base.__module__, "__doc__": base.__doc__}
        return type(base.__name__, (base,), attributes)


class Tasks(Mapping[str, AnyTask]):
    """The registered tasks by name."""

    def __getitem__(self, name: str) -> AnyTask:
        """Raises NotRegistered."""
        return registry[name]

    def __contains__(self, name: object) -> bool:
        return name in registry

    def __iter__(self) -> Iterator[str]:
        return iter(registry)

    def __len__(self) -> int:
        return len(registry)


def _class_of(task_cls: type[AnyTask] | str | None) -> type[AnyTask]:
    if isinstance(task_cls, str):
        module, _, name = task_cls.replace(":", ".").rpartition(".")
        found: type[AnyTask] = getattr(importlib.import_module(module), name)
        return found
    return task_cls or Task


_current: Celery | None = None
_providers: list[Callable[[], Celery | None]] = []


def add_provider(provide: Callable[[], Celery | None]) -> None:
    """Registers how to find the current app where the process's own is not meant."""
    if provide not in _providers:
        _providers.append(provide)


def existing() -> Celery | None:
    """The current app; None where none was made."""
    for provide in _providers:
        if (found := provide()) is not None:
            return found
    return _current


class CurrentApp:
    """Stands for the current app, which it makes where there is none."""

    def _get_current_object(self) -> Celery:
        return existing() or Celery("default")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)

    def __repr__(self) -> str:
        return repr(self._get_current_object())


current_app = CurrentApp()


def _settings() -> Conf | None:
    app = existing()
    return None if app is None else app.conf


conf.add_provider(_settings)
