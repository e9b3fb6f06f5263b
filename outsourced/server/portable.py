"""Which modules with tasks a worker elsewhere can import: those that bring nothing of the server along.

Reads the files of modules that this process has imported; nothing is imported or run for it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import resolve_name
from pathlib import Path

from outsourced.server.celery_check import is_of_the_server

#: parts of ours that need the `server` extra
_OURS = ("outsourced.server", "outsourced.models", "outsourced.sql")
#: names of our package that are in `outsourced.server`
_SERVER_NAMES = frozenset({"bp", "Outsourced", "workers", "clients", "queues"})
#: folders of packages that others have made, and of Python's own
_INSTALLED = ("site-packages", "dist-packages", f"python{sys.version_info.major}.{sys.version_info.minor}")


def bound_to_the_app(modules: Iterable[str]) -> dict[str, str]:
    """The modules that cannot be imported without the app or its packages, and why: a chain of imports."""
    found = ((module, _reason(module)) for module in modules)
    return {module: reason for module, reason in found if reason is not None}


def _reason(module: str) -> str | None:
    """`imports myapp.db, which imports sqlalchemy`; None: nothing stands in the way."""
    seen, waiting = {module}, [(module, "")]
    while waiting:
        name, way = waiting.pop(0)
        for imported in _imports(name):
            told = f"{way}, which imports {imported}" if way else f"imports {imported}"
            if is_of_the_server(imported) or imported.startswith(_OURS):
                return told
            if imported not in seen and _is_read(imported, module):
                seen.add(imported)
                waiting.append((imported, told))
    return None


def _is_read(name: str, start: str) -> bool:
    """Whether to look into a module: into the app's, not into those of packages that were installed."""
    if name.partition(".")[0] == "outsourced":
        return False
    if name.partition(".")[0] == start.partition(".")[0]:
        return True
    file = _file(name)
    return file is not None and not any(part in _INSTALLED for part in file.parts)


def _file(name: str) -> Path | None:
    file = getattr(sys.modules.get(name), "__file__", None)
    return Path(file) if file and file.endswith(".py") else None


def _imports(name: str) -> Iterator[str]:
    """The modules whose import belongs to that of this one: its packages, and what it names at its top."""
    package = name.rpartition(".")[0]
    if package:
        yield package
    file = _file(name)
    if file is None:
        return
    with suppress(OSError, UnicodeDecodeError, SyntaxError):
        within = name if file.name == "__init__.py" else package
        for node in _at_import(ast.parse(file.read_text(encoding="utf-8")).body):
            yield from _named(node, within)


def _named(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    module = node.module or ""
    if node.level:
        module = resolve_name("." * node.level + module, package)
    yield module
    if module == "outsourced" and any(alias.name in _SERVER_NAMES for alias in node.names):
        yield "outsourced.server"
    yield from (f"{module}.{alias.name}" for alias in node.names if f"{module}.{alias.name}" in sys.modules)


def _at_import(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that run with the module, but those for type checkers, and those it can do without."""
    for node in body:
        match node:
            case ast.Import() | ast.ImportFrom():
                yield node
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                yield from _at_import(node.orelse)
            case ast.If() | ast.For() | ast.While():
                yield from _at_import(node.body + node.orelse)
            case ast.Try() if not any(_forgives_imports(handler) for handler in node.handlers):
                yield from _at_import(node.body + node.orelse + node.finalbody)
            case ast.With() | ast.ClassDef():
                yield from _at_import(node.body)


def _forgives_imports(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    named = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(
        node is None
        or (isinstance(node, ast.Name) and node.id in ("ImportError", "ModuleNotFoundError", "Exception"))
        for node in named
    )
