"""Shapes of which Celery makes something else, each with the reason: random canvases are not compared there."""

# mypy: ignore-errors

from __future__ import annotations


def parts_of(recipe):
    """The recipes it consists of directly."""
    match recipe:
        case ["call", *_]:
            return []
        case ["chord", header, body]:
            return [*header, body]
        case [_, parts]:
            return parts


def everywhere(recipe):
    """The recipe and all in it."""
    yield recipe
    for part in parts_of(recipe):
        yield from everywhere(part)


def size(recipe):
    """How many calls a group has, groups in it unrolled."""
    return sum(size(part) if part[0] == "group" else 1 for part in recipe[1])


def group_of_one_in_a_chain(recipe):
    return recipe[0] == "chain" and any(part[0] == "group" and size(part) == 1 for part in recipe[1])


def group_in_a_header(recipe):
    return recipe[0] == "chord" and any(part[0] == "group" and size(part) > 1 for part in recipe[1])


REASONS = {
    group_of_one_in_a_chain: "in a chain Celery takes a group of one for that one; here it is a group",
    group_in_a_header: "Celery unrolls it from its end: results in another order (as in celery#4681)",
}


def excluded(recipe):
    """Why the two are not compared; None: they are."""
    found = (reason for is_so, reason in REASONS.items() for part in everywhere(recipe) if is_so(part))
    return next(found, None)
