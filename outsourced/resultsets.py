"""What became of several jobs: a `ResultSet`, and the `GroupResult` of a group."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self
from uuid import UUID

import orjson

from outsourced.backend import Producer, current
from outsourced.calls import job_id
from outsourced.errors import PayloadError, TimeoutError
from outsourced.results import AsyncResult

#: a group that is saved, in bytes of JSON: some 25,000 ids
MAX_SAVED = 1024 * 1024


class ResultSet:
    """Results of jobs, and of groups among them, in an order."""

    def __init__(
        self, results: Iterable[AsyncResult[Any] | ResultSet], app: object = None, *, parent: Any = None
    ) -> None:
        """`app` is Celery's, here and below, and says nothing."""
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

    def remove(self, result: AsyncResult[Any] | ResultSet | str) -> None:
        """Removes a result, or the one of this id; raises KeyError where it is none of these."""
        if isinstance(result, str):
            result = AsyncResult(result)
        if result not in self.results:
            raise KeyError(result)
        self.results.remove(result)

    def discard(self, result: AsyncResult[Any] | ResultSet | str) -> None:
        """Removes a result if it is one of these."""
        if (AsyncResult(result) if isinstance(result, str) else result) in self.results:
            self.remove(result)

    def update(self, results: Iterable[AsyncResult[Any] | ResultSet]) -> None:
        """Adds those that are not there."""
        for result in results:
            self.add(result)

    def clear(self) -> None:
        """Removes all results."""
        self.results.clear()

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

    join = join_native = get

    def maybe_throw(
        self,
        callback: Callable[[str, Any], object] | None = None,
        propagate: bool = True,  # noqa: FBT001, FBT002 - Celery's order
    ) -> None:
        """Raises what the first of them that has failed raised; does not wait."""
        for result in self.results:
            result.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    def then(
        self, callback: Callable[[Any], object], on_error: Callable[[Any], object] | None = None
    ) -> None:
        """Has `callback` called with this when `get` has seen the end of all, however they ended.

        `on_error` is given what the `get` of each that failed raises.
        """
        unseen = len(self.results)

        def see(_: Any) -> None:
            nonlocal unseen
            unseen -= 1
            if not unseen:
                callback(self)

        for result in self.results:
            result.then(see, on_error)
        if not self.results:
            callback(self)

    def forget(self) -> None:
        """Has none of the results kept any longer."""
        for result in self.results:
            result.forget()

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
        parent: Any = None,
        *,
        app: object = None,
        producer: Producer | None = None,
    ) -> None:
        """`producer` keeps what is saved; None: the one in force."""
        super().__init__(results, parent=parent)
        self.id = str(id)
        self._given = producer

    def __repr__(self) -> str:
        return f"<GroupResult {self.id} of {len(self)}>"

    def __str__(self) -> str:
        return self.id

    def save(self, backend: object = None) -> None:
        """Keeps the ids, for `restore` in whichever process: as long as completed jobs are kept.

        `backend` is Celery's, here and below, and says nothing. Raises PayloadError for more than there is
        room for.
        """
        text = orjson.dumps(self.as_tuple()).decode()
        if len(text) > MAX_SAVED:
            raise PayloadError(f"a group of {len(self):,} is too large to be saved: keep the ids yourself")
        self._producer.save_group(job_id(self.id), text)

    @classmethod
    def restore(
        cls, id: str | UUID, backend: object = None, app: object = None, *, producer: Producer | None = None
    ) -> Self | None:
        """The group that was saved under this id, its results in their order; None where none was."""
        text = (producer or current()).group(job_id(id))
        if text is None:
            return None
        found = cls.from_tuple(orjson.loads(text), producer=producer)
        assert isinstance(found, cls)
        return found

    def delete(self, backend: object = None) -> None:
        """Keeps the ids no longer; the jobs and their results stay."""
        self._producer.forget_group(job_id(self.id))

    @property
    def _producer(self) -> Producer:
        return self._given or current()

    def as_list(self) -> list[str]:
        """Its id, and those above it."""
        return [self.id, *([] if self.parent is None else self.parent.as_list())]

    def as_tuple(self) -> tuple[Any, ...]:
        """Ids all the way up, for `from_tuple`: JSON carries it."""
        parent = None if self.parent is None else self.parent.as_tuple()
        return (self.id, parent), [result.as_tuple() for result in self.results]  # type: ignore[union-attr]

    @classmethod
    def from_tuple(cls, made: Any, *, producer: Producer | None = None) -> Self | AsyncResult[Any]:
        """The result that `as_tuple` was asked of."""
        (id, parent), members = made
        above = None if parent is None else cls.from_tuple(parent, producer=producer)
        if members is None:
            return AsyncResult(id, parent=above, producer=producer)
        results = [cls.from_tuple(member, producer=producer) for member in members]
        return cls(id, results, parent=above, producer=producer)


def result_from_tuple(made: Any, app: object = None) -> GroupResult | AsyncResult[Any]:
    """The result that `as_tuple` was asked of, of either kind."""
    return GroupResult.from_tuple(made)
