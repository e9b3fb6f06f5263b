"""Uses of the pytest fixtures that Celery brings: with those a test goes on testing Celery."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_APP = "it is Celery's, and goes on testing Celery: take `outsourced_jobs` (docs/testing.md)"
_WORKER = "it is Celery's, and works for Celery: `outsourced_jobs.drain()` runs what was enqueued"
#: fixtures of `celery.contrib.pytest`, and what to do instead
FIXTURES = {
    "celery_app": _APP,
    "celery_session_app": _APP,
    "celery_worker": _WORKER,
    "celery_session_worker": _WORKER,
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def uses(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    """Lines that ask for such a fixture, and its name; one that the tests define themselves is theirs."""
    used = sorted(_uses(tree))
    if used:
        own = _defined(tree) | {name for conftest in _conftests(path) for name in _defined(conftest)}
        yield from ((line, name) for line, name in used if name not in own)


def _uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name.startswith("test") or _is_fixture(
                node
            ):
                parameters = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                yield from ((given.lineno, given.arg) for given in parameters if given.arg in FIXTURES)
            case ast.Call(func=ast.Attribute(attr="usefixtures" | "getfixturevalue"), args=args):
                for given in args:
                    if isinstance(given, ast.Constant) and given.value in FIXTURES:
                        yield given.lineno, str(given.value)


def _defined(tree: ast.AST) -> set[str]:
    functions = (node for node in ast.walk(tree) if isinstance(node, Function))
    return {node.name for node in functions if _is_fixture(node)}


def _is_fixture(function: Function) -> bool:
    called = (node.func if isinstance(node, ast.Call) else node for node in function.decorator_list)
    return any(
        (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")) == "fixture"
        for node in called
    )


def _conftests(path: Path) -> Iterator[ast.AST]:
    """What pytest reads before the module: the `conftest.py` of its folder and of those above."""
    for folder in path.absolute().parents:
        with suppress(OSError, SyntaxError, UnicodeDecodeError):
            yield ast.parse((folder / "conftest.py").read_text(encoding="utf-8"))
