"""What the verbs of people share: names, and how an act is made known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from outsourced.errors import InvalidRequest

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend
    from outsourced.sql.leases import Moved

#: characters of a worker's or queue's name, at most
MAX_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What an act did: nothing, where things were so already; and what became of jobs in hand."""

    changed: bool
    moved: list[Moved] = field(default_factory=list)  #: jobs taken back from workers
    cancelling: int = 0  #: jobs their worker is now asked to stop
    details: dict[str, Any] = field(default_factory=dict)  #: for the audit, beside what was asked


def check_name(name: str, kind: str) -> None:
    """Raises InvalidRequest for a name that could not be typed, shown or stored."""
    if not name or name != name.strip():
        raise InvalidRequest(f"a {kind}'s name has no space at its ends, and is not empty: {name!r}")
    if len(name) > MAX_NAME:
        raise InvalidRequest(f"a {kind}'s name has at most {MAX_NAME} characters; this one has {len(name)}")
    if not name.isprintable():
        raise InvalidRequest(f"a {kind}'s name holds only printable characters: {name!r}")


def announce(backend: SqlBackend, done: Done, workers: Iterable[str]) -> None:
    """Wakes whom a committed act concerns."""
    if done.changed:
        changes = backend.changes(done.moved)
        backend.notify(replace(changes, workers=changes.workers | frozenset(workers)))
