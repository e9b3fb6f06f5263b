"""The tasks behind `map` and `starmap`, which every worker knows: one task, over and over, in one job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outsourced.canvas.maps import MAP, STARMAP
from outsourced.definition import define
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


registry.add_own(define(call_each, options={"name": MAP}))
registry.add_own(define(call_each_star, options={"name": STARMAP}))
