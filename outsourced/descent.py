"""What came of a job beyond its own result: the jobs below it, one level after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import IO, TYPE_CHECKING, Any, Protocol

from outsourced.exceptions import IncompleteStream

if TYPE_CHECKING:
    from outsourced.results import AsyncResult


class _Node(Protocol):
    """A result that has others below it."""

    @property
    def children(self) -> Sequence[AsyncResult[Any]]: ...

    def ready(self) -> bool: ...


class Graph(Mapping[Any, Sequence[Any]]):
    """Results, and for each those right below it; what Celery's `DependencyGraph` is asked for."""

    def __init__(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        """The pairs are those of `iterdeps`."""
        self._below: dict[Any, list[Any]] = {}
        for above, node in pairs:
            self._below.setdefault(node, [])
            if above is not None:
                self._below[above].append(node)

    def __getitem__(self, node: Any) -> Sequence[Any]:
        return self._below[node]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._below)

    def __len__(self) -> int:
        return len(self._below)

    def edges(self) -> Iterator[Any]:
        """The results that have others below them."""
        return (node for node, below in self._below.items() if below)

    def topsort(self) -> list[Any]:
        """Each result after all that are below it."""
        return list(TopologicalSorter(self._below).static_order())

    def to_dot(self, fh: IO[str]) -> None:
        """Writes the graph in the language of Graphviz."""
        lines = [f'  "{node}" -> "{child}";' for node, below in self._below.items() for child in below]
        nodes = [f'  "{node}";' for node in self._below]
        fh.write("\n".join(["digraph results {", *nodes, *lines, "}", ""]))


class Descent:
    """What a result knows of those below it; Celery's walks."""

    def iterdeps(
        self: Any,
        intermediate: bool = False,  # noqa: FBT001, FBT002 - Celery's order
    ) -> Iterator[tuple[AsyncResult[Any] | None, AsyncResult[Any]]]:
        """This result, then all below it, each with the one above it; a job below several comes with each.

        Raises IncompleteStream at a job that has not ended, unless `intermediate`: its children may yet come.
        """
        waiting: deque[tuple[Any, Any]] = deque([(None, self)])
        seen = set()
        while waiting:
            above, node = waiting.popleft()
            yield above, node
            if node.job_id in seen:
                continue
            seen.add(node.job_id)
            if node.ready():
                waiting.extend((node, child) for child in node.children)
            elif not intermediate:
                raise IncompleteStream(f"job {node.id} has not ended: there may be more below it")

    def build_graph(
        self: Any,
        intermediate: bool = False,  # noqa: FBT001, FBT002 - Celery's order
    ) -> Graph:
        """The results of `iterdeps` as a graph; raises likewise."""
        return Graph(self.iterdeps(intermediate=intermediate))

    @property
    def graph(self: Any) -> Graph:
        """The results below this one, as a graph; raises IncompleteStream until all have ended."""
        return self.build_graph()  # type: ignore[no-any-return]

    def collect(
        self: Any,
        intermediate: bool = False,  # noqa: FBT001, FBT002 - Celery's order
        **how: Any,
    ) -> Iterator[tuple[AsyncResult[Any], Any]]:
        """Each result of `iterdeps` with its value; `how` goes to `get`."""
        for _, result in self.iterdeps(intermediate=intermediate):
            yield result, result.get(**how)

    def get_leaf(self: Any) -> Any:
        """The value of the last result below this one."""
        value = None
        for _, result in self.iterdeps():
            value = result.get()
        return value
