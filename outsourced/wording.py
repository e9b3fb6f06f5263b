"""Words that several messages share. Imports no other module of the package."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

#: names suggested in place of a wrong one, at most
SUGGESTED = 3


def similar(name: str, known: Iterable[str]) -> str:
    """A question to add to "there is no …", or nothing where no known name is like this one."""
    names = sorted(known)
    close = get_close_matches(name, names, n=SUGGESTED) or [
        other for other in names if name and name.lower() in other.lower()
    ]
    return f"; did you mean {' or '.join(map(repr, close[:SUGGESTED]))}?" if close else ""
