"""Reading a module written for Celery: what needs care here, and where its tasks may run. Runs nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

#: packages that belong where the app and its database are
SERVER_ONLY = frozenset(
    {
        *("alembic", "django", "flask", "flask_migrate", "flask_sqlalchemy"),
        *("psycopg", "psycopg2", "sqlalchemy", "werkzeug"),
    }
)
#: names of Celery that have no match, and what to do instead
UNSUPPORTED = {
    "AbortableTask": "a task is told to stop by its process: revoke(terminate=True)",
    "solar": "there are crontab() and every()",
    "bootsteps": "a worker has no parts to put in",
    "replace": "enqueue what is to follow, or make it a chain",
    "add_to_chord": "a chord's header is known when it is enqueued",
    "add_consumer": "hire the worker: `flask outsourcer worker hire NAME QUEUE`",
    "cancel_consumer": "fire the worker: `flask outsourcer worker fire NAME QUEUE`",
    "broadcast": "workers are not called: the server decides",
    "autoscale": "`-c` says how many jobs run at a time",
    "pool_grow": "`-c` says how many jobs run at a time",
    "pool_shrink": "`-c` says how many jobs run at a time",
    "kombu": "there is no broker: queues are made by `flask outsourcer queue create`",
    "billiard": "the pool's processes are Python's own",
    "django_celery_beat": "schedules are in the app's configuration (docs/schedules.md)",
    "django_celery_results": "results are in the app's database",
}
_DECORATORS = frozenset({"task", "shared_task"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A line that needs care."""

    line: int
    what: str
    instead: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A task of the module, and what of the server it uses."""

    line: int
    name: str
    needs: tuple[str, ...]  #: empty: it may run anywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the module is like."""

    imports: tuple[str, ...]  #: of the server's packages, for the whole module
    tasks: tuple[Found, ...]
    findings: tuple[Finding, ...]


def examine(source: str, filename: str) -> Report:
    """The report of a module's source; raises SyntaxError."""
    tree = ast.parse(source, filename)
    theirs = dict(_server_names(tree))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    tasks = tuple(
        Found(line=node.lineno, name=node.name, needs=_needs(node, theirs, functions))
        for node in functions.values()
        if any(_is_decorator(decorator) for decorator in node.decorator_list)
    )
    findings = tuple(sorted(_findings(tree), key=lambda finding: finding.line))
    return Report(imports=tuple(sorted(set(theirs.values()))), tasks=tasks, findings=findings)


def _server_names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Names the module has from packages of the server, or from the app's own models, and whence."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if _top(alias.name) in SERVER_ONLY:
                    yield alias.asname or _top(alias.name), _top(alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (whence := _server_origin(node, alias.name)) is not None:
                    yield alias.asname or alias.name, whence


def _server_origin(node: ast.ImportFrom, name: str) -> str | None:
    module = node.module or ""
    if _top(module) in SERVER_ONLY:
        return _top(module)
    spelled = "." * node.level + module
    if module.rpartition(".")[2] == "models":
        return spelled
    is_the_apps = name in ("app", "db", "models") and _top(module) not in ("celery", "outsourced")
    return f"{spelled}:{name}" if is_the_apps else None


def _needs(
    function: ast.FunctionDef, theirs: dict[str, str], functions: dict[str, ast.FunctionDef]
) -> tuple[str, ...]:
    """What the function uses of the server, and the functions of its module that it calls."""
    seen, waiting, needs = set[str](), [function], set[str]()
    while waiting:
        for node in ast.walk(waiting.pop()):
            if isinstance(node, ast.Name):
                if node.id in theirs:
                    needs.add(theirs[node.id])
                elif node.id in functions and node.id not in seen:
                    seen.add(node.id)
                    waiting.append(functions[node.id])
    return tuple(sorted(needs))


def _is_decorator(node: ast.expr) -> bool:
    called = node.func if isinstance(node, ast.Call) else node
    return (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) in _DECORATORS


def _findings(tree: ast.AST) -> Iterator[Finding]:
    for node in ast.walk(tree):
        for name in _names_in(node):
            if name in UNSUPPORTED:
                yield Finding(line=getattr(node, "lineno", 0), what=name, instead=UNSUPPORTED[name])


def _names_in(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (_top(alias.name) for alias in names)
        case ast.ImportFrom(module=module, names=names):
            yield _top(module or "")
            yield from (alias.name for alias in names if _top(module or "") in ("celery", "outsourced"))
        case ast.Attribute(value=ast.Name(id="self"), attr=("replace" | "add_to_chord") as attribute):
            yield attribute
        case ast.Attribute(value=ast.Attribute(attr="control"), attr=attribute):
            yield attribute


def _top(module: str) -> str:
    return module.partition(".")[0]
