"""The tasks that every worker knows: behind `map` and `starmap`, and what a job becomes that is replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outsourced.canvas.maps import MAP, STARMAP
from outsourced.definition import define
from outsourced.following import ACCUMULATE
from outsourced.registry import registry


def call_each(task: str, args: Sequence[Any], kwargs: Mapping[str, Any], it: Sequence[Any]) -> list[Any]:
    """What the task returns for each."""
    call = registry[task]
    return [call(*args, item, **kwargs) for item in it]


def call_each_star(
    task: str, args: Sequence[Any], kwargs: Mapping[str, Any], it: Sequence[Sequence[Any]]
) -> list[Any]:
    """Likewise, each being all of its arguments."""
    call = registry[task]
    return [call(*args, *items, **kwargs) for items in it]


def accumulate(result: Any, /, *_args: Any, **_kwargs: Any) -> Any:
    """What it is given before its own arguments: a replacement's result, or the list of a group's."""
    return result


registry.add_own(define(accumulate, options={"name": ACCUMULATE, "ignore_result": False}))
registry.add_own(define(call_each, options={"name": MAP}))
registry.add_own(define(call_each_star, options={"name": STARMAP}))
