"""What can be said about one Python source file: pure functions over its syntax tree."""

from __future__ import annotations

import ast
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from io import BytesIO
from typing import Any

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
#: statements whose inside is indented one level deeper
LOOPS = (ast.For, ast.AsyncFor, ast.While)
BLOCKS = (
    *FUNCTIONS, *LOOPS, ast.ClassDef, ast.If, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match,
    ast.match_case,
)  # fmt: skip
#: fields of a statement that hold statements
BODIES = ("body", "orelse", "handlers", "finalbody", "cases")


@dataclass(slots=True)
class Function:
    """A function and where it is."""

    name: str = ""
    line: int = 0
    lines: int = 0


@dataclass(slots=True)
class Metrics:
    """The findings on one file."""

    lines: int = 0
    functions: int = 0
    classes: int = 0
    imports: list[str] = field(default_factory=list)
    documented: int = 0  #: functions and classes with a docstring
    max_nesting: int = 0
    longest_function: Function = field(default_factory=Function)

    def as_dict(self) -> dict[str, Any]:
        """The findings in JSON's own types."""
        return asdict(self)


def measure(source: bytes, filename: str) -> Metrics:
    """The metrics of a source file; raises SyntaxError, with file and line, for one that is not Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escapes in other people's strings
        tree = ast.parse(source, filename)
    metrics = Metrics(lines=source.count(b"\n") + (not source.endswith(b"\n") and bool(source)))
    modules: set[str] = set()
    for statement, depth in _statements(tree):
        metrics.max_nesting = max(metrics.max_nesting, depth)
        if isinstance(statement, FUNCTIONS):
            _count_function(statement, metrics)
        elif isinstance(statement, ast.ClassDef):
            metrics.classes += 1
            metrics.documented += ast.get_docstring(statement, clean=False) is not None
        else:
            modules.update(_modules_of(statement))
    metrics.imports = sorted(modules)
    return metrics


def excerpt(source: bytes, *, line: int, length: int = 10) -> list[str]:
    """The lines of a source file from `line` on, the first being 1; none from line 0."""
    if line < 1:
        return []
    encoding, _ = tokenize.detect_encoding(BytesIO(source).readline)
    return source.decode(encoding, "replace").splitlines()[line - 1 : line - 1 + length]


def _statements(tree: ast.Module) -> Iterator[tuple[ast.AST, int]]:
    """Every statement with the number of blocks around it; expressions are not descended into."""
    waiting: list[tuple[ast.AST, int]] = [(statement, 0) for statement in tree.body]
    while waiting:
        statement, depth = waiting.pop()
        yield statement, depth
        inside = depth + isinstance(statement, BLOCKS)
        for name in BODIES:
            for child in getattr(statement, name, ()):
                waiting.append((child, depth if _is_elif(statement, child) else inside))


def _is_elif(statement: ast.AST, child: ast.AST) -> bool:
    both = isinstance(statement, ast.If) and isinstance(child, ast.If)
    return both and statement.col_offset == child.col_offset


def _count_function(function: ast.FunctionDef | ast.AsyncFunctionDef, metrics: Metrics) -> None:
    metrics.functions += 1
    metrics.documented += ast.get_docstring(function, clean=False) is not None
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if lines > metrics.longest_function.lines:
        metrics.longest_function = Function(function.name, function.lineno, lines)


def _modules_of(statement: ast.AST) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name.partition(".")[0] for alias in statement.names]
    if isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
        return [statement.module.partition(".")[0]]
    return []
