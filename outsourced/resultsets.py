"""What became of several jobs: a `ResultSet`, and the `GroupResult` of a group."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self
from uuid import UUID

from outsourced.errors import TimeoutError
from outsourced.results import AsyncResult


class ResultSet:
    """Results of jobs, and of groups among them, in an order."""

    def __init__(self, results: Iterable[AsyncResult[Any] | ResultSet], *, parent: Any = None) -> None:
        self.results: list[AsyncResult[Any] | ResultSet] = list(results)
        self.parent = parent  #: the result of what comes before, if anything does

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)}>"

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[AsyncResult[Any] | ResultSet]:
        return iter(self.results)

    def __getitem__(self, index: int) -> AsyncResult[Any] | ResultSet:
        return self.results[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResultSet) and other.results == self.results

    __hash__ = None  # type: ignore[assignment]

    @property
    def children(self) -> list[AsyncResult[Any] | ResultSet]:
        """The results."""
        return self.results

    def add(self, result: AsyncResult[Any] | ResultSet) -> None:
        """Adds a result, unless it is there."""
        if result not in self.results:
            self.results.append(result)

    def remove(self, result: AsyncResult[Any] | ResultSet) -> None:
        """Removes a result; raises KeyError where it is none of these."""
        if result not in self.results:
            raise KeyError(result)
        self.results.remove(result)

    def ready(self) -> bool:
        """Whether all have ended."""
        return all(result.ready() for result in self.results)

    def successful(self) -> bool:
        """Whether all have ended well."""
        return all(result.successful() for result in self.results)

    def failed(self) -> bool:
        """Whether one has failed for good."""
        return any(result.failed() for result in self.results)

    def waiting(self) -> bool:
        """Whether one has not ended."""
        return not self.ready()

    def completed_count(self) -> int:
        """How many have ended well."""
        return sum(result.successful() for result in self.results)

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        interval: float | None = None,
        *,
        disable_sync_subtasks: bool = True,
    ) -> list[Any]:
        """Waits for all; gives their results in their order. Raises what `AsyncResult.get` does."""
        return list(
            self._each(
                timeout,
                propagate=propagate,
                interval=interval,
                disable_sync_subtasks=disable_sync_subtasks,
            )
        )

    join = get

    def iterate(
        self,
        timeout: float | None = None,
        propagate: bool = True,  # noqa: FBT001, FBT002 - Celery's order
    ) -> Iterator[Any]:
        """The results as they come, one by one in their order."""
        return self._each(timeout, propagate=propagate)

    def _each(self, timeout: float | None, **how: Any) -> Iterator[Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        for result in self.results:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                yield result.get(left, **how)
            except TimeoutError as error:
                raise TimeoutError(
                    f"not all of {len(self)} results are there after {timeout:g} s", **error.facts
                ) from None

    def revoke(self, **how: Any) -> None:
        """Cancels all that has not ended, or asks the workers to stop."""
        for result in self.results:
            result.revoke(**how)


class GroupResult(ResultSet):
    """The result of a group: the list of those of its jobs."""

    def __init__(
        self,
        id: str | UUID,
        results: Sequence[AsyncResult[Any] | ResultSet] = (),
        *,
        parent: Any = None,
    ) -> None:
        super().__init__(results, parent=parent)
        self.id = str(id)

    def __repr__(self) -> str:
        return f"<GroupResult {self.id} of {len(self)}>"

    def __str__(self) -> str:
        return self.id

    def as_tuple(self) -> tuple[Any, ...]:
        """Ids all the way up, for `from_tuple`: JSON carries it."""
        parent = None if self.parent is None else self.parent.as_tuple()
        return (self.id, parent), [result.as_tuple() for result in self.results]  # type: ignore[union-attr]

    @classmethod
    def from_tuple(cls, made: Any) -> Self | AsyncResult[Any]:
        """The result that `as_tuple` was asked of."""
        (id, parent), members = made
        above = None if parent is None else cls.from_tuple(parent)
        if members is None:
            return AsyncResult(id, parent=above)
        return cls(id, [cls.from_tuple(member) for member in members], parent=above)


def result_from_tuple(made: Any) -> GroupResult | AsyncResult[Any]:
    """The result that `as_tuple` was asked of, of either kind."""
    return GroupResult.from_tuple(made)
