"""What another Alembic line, the host's own, must not look at: our tables, and where our line stands."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping

from outsourced.sql.base import PREFIX

Parents = MutableMapping[str, str | None]
IncludeName = Callable[[str | None, str, Parents], bool]


def include_name(name: str | None, kind: str, parents: Parents) -> bool:
    """Whether a host's autogenerate may look at it: Alembic's `include_name`, for all but our tables."""
    return kind != "table" or not (name or "").startswith(PREFIX)
