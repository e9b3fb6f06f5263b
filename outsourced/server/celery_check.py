"""Reading a module written for Celery: what needs care here, and where its tasks may run. Runs nothing."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import signature
from pathlib import Path

from outsourced.celery_states import REVOKED, SUCCESS
from outsourced.retrying import CHANGEABLE, MEANINGLESS
from outsourced.server import celery_fixtures
from outsourced.tasks import Task

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
    "broadcast": "workers are not called: the server decides",
    "autoscale": "`-c` says how many jobs run at a time",
    "pool_grow": "`-c` says how many jobs run at a time",
    "pool_shrink": "`-c` says how many jobs run at a time",
    "pool_restart": "send TERM to the worker's process and start it anew",
    "shutdown": "`flask outsourcer worker pause NAME`, and TERM to its process",
    "time_limit": "limits are said where the task is defined, or with the call",
    "pickle": "arguments and results travel as JSON with dates, decimals, UUIDs, bytes, sets and tuples",
    "update_state": "a job ends as its task does: return, or raise",
    "states": "`from outsourced import celery_states as states`",
    "kombu": "there is no broker: queues are made by `flask outsourcer queue create`",
    "billiard": "the pool's processes are Python's own",
    "django_celery_beat": "schedules are in the app's configuration (docs/schedules.md)",
    "django_celery_results": "results are in the app's database",
}
#: names that a module of Celery has too, and that mean something else when said elsewhere
_IN_PLACE = frozenset({"shutdown", "time_limit", "pickle", "update_state"})
_DECORATORS = frozenset({"task", "shared_task"})
_CONTROLS = frozenset(
    {
        *("autoscale", "broadcast", "pool_grow", "pool_restart", "pool_shrink"),
        *("shutdown", "time_limit"),
    }
)
#: what `retry` takes, and what of it may change
_RETRY = {*signature(Task.retry).parameters, *CHANGEABLE, *MEANINGLESS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A line that needs care."""

    file: str
    line: int
    what: str
    instead: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A task of the module, and what of the server it uses."""

    file: str
    line: int
    name: str
    needs: tuple[str, ...]  #: empty: it may run anywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the module is like."""

    file: str
    imports: tuple[str, ...]  #: of the server's packages, for the whole module
    packages: tuple[str, ...]  #: whose `__init__.py` imports such too, and runs before the module
    tasks: tuple[Found, ...]
    findings: tuple[Finding, ...]


def examine(path: Path) -> Report:
    """The report of a module; raises SyntaxError, UnicodeDecodeError and OSError."""
    tree = _parsed(path)
    theirs = dict(_server_names(tree))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    tasks = tuple(
        Found(file=str(path), line=node.lineno, name=node.name, needs=_needs(node, theirs, functions))
        for node in functions.values()
        if any(_is_decorator(decorator) for decorator in node.decorator_list)
    )
    findings = tuple(sorted(_findings(tree, path), key=lambda finding: finding.line))
    packages = tuple(str(above) for above in _packages(path) if any(_server_names(_parsed(above))))
    imports = tuple(sorted(set(theirs.values())))
    return Report(file=str(path), imports=imports, packages=packages, tasks=tasks, findings=findings)


def examine_all(folder: Path) -> list[Report]:
    """The reports of all modules in a folder and those below; what one that cannot be read lacks is said."""
    return [_examined(path) for path in modules_in(folder)]


def modules_in(folder: Path) -> list[Path]:
    """The Python files of a folder and those below, but those of hidden folders and environments."""
    found: list[Path] = []
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if path.suffix == ".py" and path.is_file():
            found.append(path)
        elif path.is_dir() and not path.name.startswith(".") and not (path / "pyvenv.cfg").exists():
            found += modules_in(path)
    return found


def _examined(path: Path) -> Report:
    try:
        return examine(path)
    except (SyntaxError, UnicodeDecodeError, OSError) as error:
        line = error.lineno or 0 if isinstance(error, SyntaxError) else 0
        unread = Finding(file=str(path), line=line, what="cannot be read", instead=str(error))
        return Report(file=str(path), imports=(), packages=(), tasks=(), findings=(unread,))


def is_of_the_server(module: str) -> bool:
    """Whether a module belongs where the app and its database are."""
    top = _top(module)
    return top in SERVER_ONLY or top.startswith("flask_")


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _packages(path: Path) -> Iterator[Path]:
    """The `__init__.py` that run when the module is imported, but its own, the nearest first."""
    for folder in path.absolute().parents:
        found = folder / "__init__.py"
        if not found.is_file():
            return
        if found != path.absolute():
            yield found


def _server_names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Names the module has from packages of the server, or from the app's own models, and whence."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if is_of_the_server(alias.name):
                    yield alias.asname or _top(alias.name), _top(alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (whence := _server_origin(node, alias.name)) is not None:
                    yield alias.asname or alias.name, whence


def _server_origin(node: ast.ImportFrom, name: str) -> str | None:
    module = node.module or ""
    if is_of_the_server(module):
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


def _findings(tree: ast.AST, path: Path) -> Iterator[Finding]:
    for node in ast.walk(tree):
        for what, instead in _unmatched(node):
            yield Finding(file=str(path), line=getattr(node, "lineno", 0), what=what, instead=instead)
    for line, name in celery_fixtures.uses(tree, path):
        yield Finding(file=str(path), line=line, what=name, instead=celery_fixtures.FIXTURES[name])


def _unmatched(node: ast.AST) -> Iterator[tuple[str, str]]:
    """What a piece of code uses that has no match here, and what to do instead."""
    match node:
        case ast.Import(names=names):
            for alias in names:
                yield from _unmatched_import(alias.name, None)
        case ast.ImportFrom(module=str(module), names=names, level=0):
            for alias in names:
                yield from _unmatched_import(module, alias.name)
        case ast.Attribute(value=ast.Attribute(attr="control"), attr=attribute) if attribute in _CONTROLS:
            yield attribute, UNSUPPORTED[attribute]
        case ast.Call(func=ast.Attribute(attr=called)) as call:
            yield from _unmatched_call(call, called)
        case ast.keyword(arg="serializer", value=ast.Constant(value="pickle")):
            yield "pickle", UNSUPPORTED["pickle"]


def _unmatched_call(call: ast.Call, called: str) -> Iterator[tuple[str, str]]:
    given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    if called == "retry":
        for name in given.keys() - _RETRY:
            yield f"retry({name})", "the job stays what it is: enqueue another one"
    elif called == "update_state":
        said = {_last_name(value) for value in (*call.args, given.get("state"))}
        if said & {SUCCESS, REVOKED}:
            yield "update_state", UNSUPPORTED["update_state"]


def _unmatched_import(module: str, name: str | None) -> Iterator[tuple[str, str]]:
    top = _top(module)
    if top in UNSUPPORTED and top not in _IN_PLACE:
        yield top, UNSUPPORTED[top]
    if top != "celery":
        return
    last = name or module.rpartition(".")[2]
    if last in UNSUPPORTED and last not in _IN_PLACE:
        yield last, UNSUPPORTED[last]
    elif not _is_here("outsourced" + module.removeprefix("celery"), name):
        yield f"{module}.{name}" if name else module, "there is no such name here"


def _is_here(module: str, name: str | None) -> bool:
    """Whether our module of this name has such a name, or such a module."""
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    return name in (None, "*") or hasattr(found, str(name)) or _is_here(f"{module}.{name}", None)


def _last_name(node: ast.expr | None) -> str | None:
    """FAILURE of `"FAILURE"` and of `states.FAILURE`."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return None


def _top(module: str) -> str:
    return module.partition(".")[0]
