"""What came of a job beyond its own result: the jobs below it, one level after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from outsourced.exceptions import IncompleteStream

if TYPE_CHECKING:
    from outsourced.results import AsyncResult


class _Node(Protocol):
    """A result that has others below it."""

    @property
    def children(self) -> Sequence[AsyncResult[Any]]: ...

    def ready(self) -> bool: ...


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
