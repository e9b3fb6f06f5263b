"""Stamps: marks on all calls of a canvas, which each of their tasks reads in `request.stamps`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

Stamps = dict[str, Any]


class Visitor(Protocol):
    """What chooses the stamps of each call; see `StampingVisitor`."""

    def on_group_start(self, group: Any, **headers: Any) -> Stamps: ...
    def on_group_end(self, group: Any, **headers: Any) -> None: ...
    def on_chain_start(self, chain: Any, **headers: Any) -> Stamps: ...
    def on_chain_end(self, chain: Any, **headers: Any) -> None: ...
    def on_signature(self, sig: Any, **headers: Any) -> Stamps: ...
    def on_chord_header_start(self, sig: Any, **header: Any) -> Stamps: ...
    def on_chord_header_end(self, sig: Any, **header: Any) -> None: ...
    def on_chord_body(self, sig: Any, **header: Any) -> Stamps: ...
    def on_callback(self, callback: Any, **header: Any) -> Stamps: ...
    def on_errback(self, errback: Any, **header: Any) -> Stamps: ...


class StampingVisitor:
    """A base for visitors: each method gives the stamps of what it is called with; here none.

    With `stamped_headers` among them, only the names listed there are stamps.
    """

    def on_group_start(self, group: Any, **headers: Any) -> Stamps:
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:
        """Called once all of the group are stamped."""

    def on_chain_start(self, chain: Any, **headers: Any) -> Stamps:
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:
        """Called once all of the chain are stamped."""

    def on_signature(self, sig: Any, **headers: Any) -> Stamps:
        return {}

    def on_chord_header_start(self, sig: Any, **header: Any) -> Stamps:
        return self.on_group_start(sig.header, **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        self.on_group_end(sig.header, **header)

    def on_chord_body(self, sig: Any, **header: Any) -> Stamps:
        return {}

    def on_callback(self, callback: Any, **header: Any) -> Stamps:
        return {}

    def on_errback(self, errback: Any, **header: Any) -> Stamps:
        return {}


def stamp(signature: Any, visitor: Visitor | None, *, append: bool, stamps: Mapping[str, Any]) -> None:
    """Stamps a signature, what it consists of, and what is linked to it."""
    given, asked = dict(stamps), visitor or StampingVisitor()
    for link in signature.links:
        found = merged(given, asked.on_callback(link, **given), append=append)
        stamp(link, visitor, append=append, stamps=found)
    for errback in signature.errbacks:
        found = merged(given, asked.on_errback(errback, **given), append=append)
        stamp(errback, visitor, append=append, stamps=found)
    match signature.kind:
        case "chain":
            given = merged(given, asked.on_chain_start(signature, **given), append=append)
            _stamp_all(signature.tasks, visitor, append=append, stamps=given)
            asked.on_chain_end(signature, **given)
        case "group":
            given = merged(given, asked.on_group_start(signature, **given), append=append)
            _stamp_all(signature.tasks, visitor, append=append, stamps=given)
            asked.on_group_end(signature, **given)
        case "chord":
            _stamp_chord(signature, visitor, append=append, stamps=given)
        case _:
            given = merged(given, asked.on_signature(signature, **given), append=append)
            signature.options["stamps"] = merged(given, signature.options.get("stamps"), append=append)


def _stamp_chord(chord: Any, visitor: Visitor | None, *, append: bool, stamps: Stamps) -> None:
    asked = visitor or StampingVisitor()
    stamps = merged(stamps, asked.on_chord_header_start(chord, **stamps), append=append)
    _stamp_all(chord.tasks, visitor, append=append, stamps=stamps)
    asked.on_chord_header_end(chord, **stamps)
    if chord.body is not None:
        stamps = merged(stamps, asked.on_chord_body(chord, **stamps), append=append)
        stamp(chord.body, visitor, append=append, stamps=stamps)


def _stamp_all(parts: Iterable[Any], visitor: Visitor | None, *, append: bool, stamps: Stamps) -> None:
    for part in parts:
        stamp(part, visitor, append=append, stamps=stamps)


def merged(stamps: Mapping[str, Any], more: Mapping[str, Any] | None, *, append: bool) -> Stamps:
    """The stamps, with those of `more` that are not there; with `append` a name may have several values."""
    added = dict(more or {})
    names = added.pop("stamped_headers", None)
    found = dict(stamps)
    for name, value in added.items():
        if names is not None and name not in names:
            continue
        if name not in found:
            found[name] = value
        elif append:
            found[name] = [*_values(found[name]), *_values(value)]
    return found


def _values(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | set) else [value]
