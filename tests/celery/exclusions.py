"""Shapes of which Celery makes something else, each with its reason: they are not compared."""

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


def fails(recipe):
    """Whether one of its calls does."""
    return any(part[:2] == ["call", "boom"] for part in everywhere(recipe))


def ends_in_several(recipe):
    """Whether its result is a list of several."""
    return recipe[0] == "group" or (recipe[0] in ("chain", "chord") and ends_in_several(parts_of(recipe)[-1]))


def has_several(recipe):
    """Whether anything in it runs side by side."""
    return any(part[0] in ("group", "chord") for part in everywhere(recipe))


def group_of_one_in_a_chain(recipe):
    return recipe[0] == "chain" and any(part[0] == "group" and size(part) == 1 for part in recipe[1])


def group_in_a_header(recipe):
    return recipe[0] == "chord" and any(part[0] == "group" and size(part) > 1 for part in recipe[1])


def group_in_a_group(recipe):
    return recipe[0] == "group" and any(part[0] == "group" for part in recipe[1])


def chain_that_ends_in_several_among_others(recipe):
    members = recipe[1] if recipe[0] in ("group", "chord") else []
    return any(part[0] in ("chain", "chord") and ends_in_several(part) for part in members)


def chord_that_fails_in_a_header(recipe):
    if recipe[0] == "chord":
        return any(has_several(part) and fails(part) for part in recipe[1])
    # a group that something follows is a header too
    headers = [part for part in recipe[1][:-1] if part[0] == "group"] if recipe[0] == "chain" else []
    return any(has_several(part) and fails(part) for header in headers for part in header[1])


def chord_of_several_before_another(recipe):
    if recipe[0] != "chain":
        return False
    return any(part[0] != "group" and ends_in_several(part) for part in recipe[1][:-1])


def failure_before_several(recipe):
    if recipe[0] == "chord":
        return any(map(fails, recipe[1])) and has_several(recipe[2])
    if recipe[0] != "chain":
        return False
    failed = False
    for part in recipe[1]:
        if failed and has_several(part):
            return True
        failed = failed or fails(part)
    return False


def errback_inside_a_body_not_reached(recipe):
    if recipe[0] != "chord" or recipe[2][0] == "call":
        return False
    return any(map(fails, recipe[1])) and any(
        part[0] == "call" and part[2].get("link_error") for part in everywhere(recipe[2])
    )


REASONS = {
    group_of_one_in_a_chain: "in a chain Celery takes a group of one for that one; here it is a group",
    group_in_a_header: "Celery unrolls it from its end: results in another order (as in celery#4681)",
    group_in_a_group: "Celery unrolls it at times, and at times keeps a list of its own; here it is unrolled",
    chain_that_ends_in_several_among_others: "Celery's chord hangs, or unrolls it (celery#3506)",
    chord_that_fails_in_a_header: "Celery's outer chord is never told, and waits for ever (celery#4401)",
    chord_of_several_before_another: "Celery calls what follows once for each of them (celery#5138)",
    errback_inside_a_body_not_reached: "where a header fails Celery calls no errbacks inside its body",
    failure_before_several: "Celery leaves what comes after it PENDING for ever; here all of it fails",
}


def excluded(recipe):
    """Why the two are not compared; None: they are."""
    found = (reason for is_so, reason in REASONS.items() for part in everywhere(recipe) if is_so(part))
    return next(found, None)
