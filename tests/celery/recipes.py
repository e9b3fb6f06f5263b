"""Canvases as plain data, which both libraries make theirs: see `test_random_canvases.py`.

A recipe is a list: ["call", name, options], ["chain", recipes], ["group", recipes], or
["chord", recipes, recipe].
"""

# mypy: ignore-errors

from __future__ import annotations

from types import SimpleNamespace


def tasks_of(task, calls):
    """The tasks that recipes name, writing down what they were called with."""

    @task(name="recipe.keep")
    def keep(*args):
        calls.append(["keep", list(args)])
        return list(args)

    @task(name="recipe.boom")
    def boom(*args):
        calls.append(["boom", list(args)])
        raise ValueError("no")

    @task(name="recipe.note")
    def note(*args):
        calls.append(["note", list(args)])

    @task(name="recipe.failed")
    def failed(task_id):
        calls.append(["failed", []])

    tasks = SimpleNamespace(keep=keep, boom=boom, note=note, failed=failed)

    @task(name="recipe.stand_in", bind=True)
    def stand_in(self, *args, name):
        return self.replace(getattr(tasks, name).si(*args))

    tasks.stand_in = stand_in
    return tasks


def made(recipe, canvas, tasks):
    """The signature."""
    match recipe:
        case ["call", name, options]:
            replaced = options.get("replaced")
            task = tasks.stand_in if replaced else getattr(tasks, name)
            make = task.si if options.get("immutable") else task.s
            call = make(*options.get("args", ()), **({"name": name} if replaced else {}))
            if options.get("link"):
                call.link(tasks.note.s())
            if options.get("link_error"):
                call.link_error(tasks.failed.s())
            return call
        case ["chain", parts]:
            return canvas.chain(made(part, canvas, tasks) for part in parts)
        case ["group", parts]:
            return canvas.group(made(part, canvas, tasks) for part in parts)
        case ["chord", header, body]:
            parts = [made(part, canvas, tasks) for part in header]
            return canvas.chord(parts, made(body, canvas, tasks))
    raise ValueError(recipe)


def calls_in(recipe):
    """All calls of the recipe."""
    match recipe:
        case ["call", *_]:
            return [recipe]
        case ["chord", header, body]:
            return [call for part in (*header, body) for call in calls_in(part)]
        case [_, parts]:
            return [call for part in parts for call in calls_in(part)]
