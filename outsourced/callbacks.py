"""What the app wants to be told: functions called on the server after an owner's job has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from outsourced.records import Job

#: called with the job as it ended
Callback = Callable[[Job], Any]
C = TypeVar("C", bound=Callback)

_callbacks: dict[str, list[Callback]] = {}


def on_job_end(*owner_types: type | str) -> Callable[[C], C]:
    """Has the function called with each job that ends, of owners of these classes, or type names.

    On the server, in an app context, soon after the end is committed, and at least once: again, later, if
    it raises, or if the process dies. Raises TypeError where no type is named.
    """
    names = [_name(owner_type) for owner_type in owner_types]
    if not names:
        raise TypeError("name the owners whose jobs matter: @on_job_end(Order)")

    def register(function: C) -> C:
        for name in names:
            _callbacks.setdefault(name, []).append(function)
        return function

    return register


def callbacks_of(owner_type: str) -> tuple[Callback, ...]:
    """What is registered for owners of this type."""
    return tuple(_callbacks.get(owner_type, ()))


def listened_types() -> tuple[str, ...]:
    """The types of owners for which anything is registered."""
    return tuple(sorted(_callbacks))


def _name(owner_type: type | str) -> str:
    if isinstance(owner_type, type):
        return owner_type.__name__
    if isinstance(owner_type, str) and owner_type:
        return owner_type
    raise TypeError(f"an owner's type is a class or its name, not {owner_type!r}: @on_job_end(Order)")
