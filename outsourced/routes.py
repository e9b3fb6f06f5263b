"""Celery's `task_routes`: which queue, and which priority, a task's jobs get that say nothing themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

#: what a route may say: a queue's name, or options of which `queue` and `priority` count
Route = str | Mapping[str, Any]
#: `task_routes`: patterns and their routes, a function that routes, or several of these
Routes = Mapping[Any, Any] | Callable[..., Any] | Sequence[Any]


def route(
    routes: Routes | None,
    task: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Mapping[str, Any]:
    """The options of the first route that knows the task; raises TypeError for what is no route."""
    for router in _routers(routes):
        found = router(task, args, kwargs, options) if callable(router) else _look_up(router, task)
        if found:
            return {"queue": found} if isinstance(found, str) else found
    return {}


def _routers(routes: Routes | None) -> list[Any]:
    if routes is None:
        return []
    if callable(routes) or isinstance(routes, Mapping):
        return [routes]
    return [dict([router]) if _is_pair(router) else router for router in routes]


def _is_pair(router: Any) -> bool:
    return isinstance(router, (list, tuple)) and len(router) == 2 and isinstance(router[0], (str, re.Pattern))


def _look_up(router: Any, task: str) -> Route | None:
    if not isinstance(router, (Mapping, list, tuple)):
        raise TypeError(f"task_routes: expected a dict, pairs, or a function, not {router!r}")
    patterns: list[tuple[Any, Route]] = list(router.items() if isinstance(router, Mapping) else router)
    for pattern, found in patterns:  # a task's own name goes before any pattern
        if pattern == task:
            return found
    for pattern, found in patterns:
        if pattern.match(task) if isinstance(pattern, re.Pattern) else fnmatchcase(task, pattern):
            return found
    return None
