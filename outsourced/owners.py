"""Who a job belongs to: any thing with an id, as (class name, text of its primary key)."""

from __future__ import annotations

from typing import Any

from outsourced.records import Owner


def owner_of(thing: Any) -> Owner:
    """The owner that `thing` is or names; raises TypeError or ValueError where it has no id.

    A thing is an Owner, a pair (type, id), an instance of a mapped class, or any object with an `id`.
    """
    match thing:
        case Owner():
            return thing
        case (kind, key):
            return _owner(kind.__name__ if isinstance(kind, type) else kind, key)
        case type():
            raise TypeError(f"owner= wants a thing, not its class {thing.__name__}: pass an instance")
        case _:
            # not type(): through a proxy such as flask_login.current_user
            return _owner(thing.__class__.__name__, _key_of(thing))


def _owner(kind: Any, key: Any) -> Owner:
    if not isinstance(kind, str):
        raise TypeError(f"the type of an owner is text, not {kind!r}")
    if key is None or key == "":
        raise ValueError(f"this {kind} has no id yet and cannot own jobs: flush it to the database first")
    return Owner(type=kind, id=str(key))


def _key_of(thing: Any) -> Any:
    mapper = getattr(thing.__class__, "__mapper__", None)
    if mapper is not None:
        names = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
        keys = [getattr(thing, name) for name in names]
        return None if None in keys else ",".join(map(str, keys))
    try:
        return thing.id
    except AttributeError:
        raise TypeError(
            f"owner= wants a thing with an id, or a pair (type, id); {thing.__class__.__name__} has none"
        ) from None
