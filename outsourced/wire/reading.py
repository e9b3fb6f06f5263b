"""Checked reading of parsed JSON: each function gives a member's value, or says what is wrong and where.

A reader knows the name of its member only; `each` and `member` put the way there in front while the
Fault travels up, so that nothing is spent on paths while all is well.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID, SafeUUID

#: the longest duration a message may name, in seconds: a hundred years, which any database can add to now
MAX_SECONDS = 100 * 366 * 86_400
#: the largest whole number a message may hold where it counts something: a database's 32 bits
MAX_COUNT = 2**31 - 1
#: characters of a name
MAX_NAME = 255

_NO_ID = "must be an id such as 0190a6f2-7d3c-7a51-8d1e-3b5f0c9a4e27"

JsonObject = dict[str, Any]
T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


class Fault(Exception):
    """Something at `path` of a message is not as it must be."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path or 'the message'} {problem}")
        self.path = path
        self.problem = problem

    def inside(self, outer: str) -> Fault:
        """The same fault, seen from one level further out."""
        return Fault(f"{outer}.{self.path}" if self.path else outer, self.problem)


def expect_object(value: Any) -> JsonObject:
    """The value, which must be a JSON object."""
    if type(value) is not dict:
        raise Fault("", "must be an object")
    return value


def member(tree: JsonObject, name: str, *, read: Callable[[JsonObject], T]) -> T | None:
    """An object inside, read by `read`; None where it is absent or null."""
    value = tree.get(name)
    if value is None:
        return None
    try:
        return read(expect_object(value))
    except Fault as fault:
        raise fault.inside(name) from None


def each(tree: JsonObject, name: str, *, limit: int, read: Callable[[Any], T]) -> tuple[T, ...]:
    """A list of at most `limit` items, each read by `read`; empty where it is absent or null."""
    items = tree.get(name)
    if items is None:
        return ()
    if type(items) is not list:
        raise Fault(name, "must be a list")
    if len(items) > limit:
        raise Fault(name, f"has {len(items):,} items, the limit is {limit:,}")
    result: list[T] = []
    try:
        for item in items:
            result.append(read(item))
    except Fault as fault:
        raise fault.inside(f"{name}[{len(result)}]") from None
    return tuple(result)


def identity(tree: JsonObject, name: str) -> UUID:
    """A required id in its hyphenated form."""
    value = tree.get(name)
    if type(value) is not str or len(value) != 36 or value[8:24:5] != "----":
        raise Fault(name, _NO_ID)
    try:
        digits = bytes.fromhex(value.replace("-", ""))
    except ValueError:
        raise Fault(name, _NO_ID) from None
    if len(digits) != 16:
        raise Fault(name, _NO_ID)
    return _uuid(int.from_bytes(digits))


def optional_identity(tree: JsonObject, name: str) -> UUID | None:
    """A UUID that may be left out, or null."""
    return None if tree.get(name) is None else identity(tree, name)


def _uuid(number: int) -> UUID:
    # UUID(int=…) without its checks, done by the caller: two ids an outcome, half of the time to read one
    result = _new(UUID)
    _set(result, "int", number)
    _set(result, "is_safe", SafeUUID.unknown)
    return result


_new = object.__new__
_set = object.__setattr__


def choice(tree: JsonObject, name: str, options: dict[str, E]) -> E:
    """One of an enumeration's values."""
    value = tree.get(name)
    if type(value) is not str or value not in options:
        raise Fault(name, f"must be one of {', '.join(options)}")
    return options[value]


def text(tree: JsonObject, name: str) -> str:
    """Required text of any length."""
    value = tree.get(name)
    if type(value) is not str:
        raise Fault(name, "must be text")
    return value


def optional_text(tree: JsonObject, name: str) -> str | None:
    """Text of any length, or None."""
    return None if tree.get(name) is None else text(tree, name)


def check_name(value: Any) -> str:
    """A value that must be 1 to 255 characters of text, fit to be stored."""
    if type(value) is not str or not 0 < len(value) <= MAX_NAME or "\0" in value:
        raise Fault("", f"must be text of 1 to {MAX_NAME} characters, without NUL")
    return value


def named(tree: JsonObject, name: str) -> str:
    """A required name of 1 to 255 characters."""
    try:
        return check_name(tree.get(name))
    except Fault as fault:
        raise fault.inside(name) from None


def optional_name(tree: JsonObject, name: str) -> str | None:
    """A name likewise, or None."""
    return None if tree.get(name) is None else named(tree, name)


def moment(tree: JsonObject, name: str) -> datetime | None:
    """A moment in ISO 8601 with its offset from UTC, or None."""
    value = optional_text(tree, name)
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Fault(name, "must be a moment such as 2026-01-31T12:00:00+00:00, with its offset")
    return found


def count(tree: JsonObject, name: str, *, default: int | None = None, limit: int = MAX_COUNT) -> int:
    """A whole number from 0 to `limit`; required where there is no default."""
    value = tree.get(name)
    if value is None and default is not None:
        return default
    if type(value) is not int or not 0 <= value <= limit:
        raise Fault(name, f"must be a whole number from 0 to {limit:,}")
    return value


def whole(tree: JsonObject, name: str, *, default: int) -> int:
    """A whole number of 32 bits, of either sign."""
    value = tree.get(name)
    if value is None:
        return default
    if type(value) is not int or not -MAX_COUNT <= value <= MAX_COUNT:
        raise Fault(name, f"must be a whole number from {-MAX_COUNT:,} to {MAX_COUNT:,}")
    return value


def optional_count(tree: JsonObject, name: str) -> int | None:
    """A whole number from 0, or None."""
    return None if tree.get(name) is None else count(tree, name)


def optional_seconds(tree: JsonObject, name: str, *, limit: float = MAX_SECONDS) -> float | None:
    """A duration in seconds, or None."""
    value = tree.get(name)
    if value is None:
        return None
    if type(value) not in (float, int) or not 0 <= value <= limit:
        raise Fault(name, f"must be a number of seconds from 0 to {limit:,}")
    return float(value)


def seconds(tree: JsonObject, name: str, *, limit: float = MAX_SECONDS) -> float:
    """A required duration in seconds."""
    value = optional_seconds(tree, name, limit=limit)
    if value is None:
        raise Fault(name, f"must be a number of seconds from 0 to {limit:,}")
    return value


def flag(tree: JsonObject, name: str) -> bool:
    """True or false; false where it is absent or null."""
    value = tree.get(name)
    if value is None:
        return False
    if type(value) is not bool:
        raise Fault(name, "must be true or false")
    return value
