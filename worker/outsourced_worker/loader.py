"""Imports the modules that define tasks, and says plainly what is wrong when one does not import."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from types import ModuleType
from typing import TypeVar

from outsourced import jobclasses
from outsourced.app import base
from outsourced.errors import ConfigurationError, OutsourcedError
from outsourced.registry import Registry, registry

T = TypeVar("T")

#: packages that belong on the server only
_SERVER_ONLY = frozenset({"flask", "flask_sqlalchemy", "flask_migrate", "sqlalchemy", "alembic", "psycopg"})

RULE = (
    "Tasks for remote workers live in a package of their own that imports neither Flask nor models; tasks "
    "that need the app or its database run on the server with `flask outsourcer worker run`"
)


def load_tasks(include: Iterable[str]) -> Registry:
    """The registry, filled by importing these modules; raises ConfigurationError that says what to do."""
    modules = tuple(include)
    if not modules:
        raise ConfigurationError(
            "no modules to import tasks from: name them in the configuration "
            "(`include: [myapp_tasks.tasks]`) or with `-I myapp_tasks.tasks`"
        )
    if os.getcwd() not in sys.path:
        # a console script, unlike `python -m`, does not have the current folder there
        sys.path.insert(0, os.getcwd())
    for name in modules:
        jobclasses.register(_import(name))
        _import_tasks_of_app(name)
    if not registry:
        raise ConfigurationError(
            f"{', '.join(modules)} define{'s' if len(modules) == 1 else ''} no task: decorate functions with "
            "`@outsourced.task`, or name other modules with `-I`"
        )
    return registry


def _import_tasks_of_app(name: str) -> None:
    """Imports what an app of Celery's shape names, if one was: `proj`, where it is in `proj/celery.py`."""
    package = name.partition(":")[0]
    if (
        base.existing() is None
        and hasattr(sys.modules[package], "__path__")
        and find_spec(f"{package}.celery")
    ):
        _import(f"{package}.celery")
    app = base.existing()
    if app is not None:
        _explained(name, app.finalize)


def _import(name: str) -> ModuleType:
    module = name.partition(":")[0]  # an app of Celery's shape may be named too, but is found without
    return _explained(module, partial(importlib.import_module, module))


def _explained(name: str, work: Callable[[], T]) -> T:
    """What `work` gives; what an import in it raises is explained, as that of the module `name`."""
    try:
        return work()
    except ModuleNotFoundError as error:
        raise ConfigurationError(_explain_missing(name, error.name or name)) from error
    except OutsourcedError:
        raise
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigurationError(
            f"{name} does not import: {type(error).__name__}: {error} ({at.filename}, line {at.lineno}).\n"
            f"{RULE}."
        ) from error


def _explain_missing(name: str, missing: str) -> str:
    python = f"This worker runs in {sys.prefix} (Python {sys.version_info.major}.{sys.version_info.minor})"
    if name == missing or name.startswith(f"{missing}."):
        return (
            f"there is no module {missing!r} here: install the package with your tasks on this machine, or "
            f"start in the folder that holds it. {python}."
        )
    top = missing.partition(".")[0]
    if top in _SERVER_ONLY:
        return f"{name} does not import here: it needs {missing!r}, which belongs on the server. {RULE}."
    return (
        f"{name} does not import here: the package {missing!r} is not installed. Install it: "
        f"`{sys.executable} -m pip install {top}`. {python}. {RULE}."
    )
