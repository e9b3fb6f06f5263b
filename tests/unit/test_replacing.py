"""`Task.replace` and `Task.add_to_chord` as a task says them, run by a worker in memory."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import outsourced
from outsourced.canvas import chord, group
from outsourced.states import Event
from outsourced.testing import MemoryBackend


@pytest.fixture
def backend() -> Iterator[MemoryBackend]:
    with MemoryBackend() as backend:
        yield backend


@pytest.fixture
def t(_forget_tasks: None) -> Any:
    """The tasks."""

    @outsourced.task(name="replacing.add")
    def add(x: int, y: int) -> int:
        return x + y

    @outsourced.task(name="replacing.same")
    def same(x: Any) -> Any:
        return x

    @outsourced.task(name="replacing.replaced", bind=True)
    def replaced(self: Any) -> Any:
        return self.replace(add.s(1, 2))

    @outsourced.task(name="replacing.adding", bind=True)
    def adding(self: Any, what: Any, *, lazy: bool = False) -> str:
        made = self.add_to_chord(outsourced.signature(what), lazy=lazy)
        if lazy:
            made.delay()
        return "member"

    return SimpleNamespace(add=add, same=same, replaced=replaced, adding=adding)


def test_replace_where_there_is_no_job_says_what_to_do(backend: MemoryBackend, t: Any) -> None:
    @outsourced.task(name="replacing.around")
    def around() -> Any:
        return t.replaced()

    result = around.delay()
    backend.drain()
    with pytest.raises(RuntimeError, match="not a job of its own"):
        result.get()
    with pytest.raises(RuntimeError, match="not a job of its own"):
        t.replaced()
    assert t.replaced.apply().get() == 3


def test_replacements_are_children(backend: MemoryBackend, t: Any) -> None:
    result = t.replaced.delay()
    backend.drain()
    assert result.get() == 3
    (child,) = result.children
    assert (child.get(), child.name, result.name) == (3, t.add.name, "outsourced.accumulate")
    reasons = [row.reason for row in backend.history(result.job_id) if row.event is Event.REPLACE]
    assert reasons == [f"{t.replaced.name}, by {child.id}"]


def test_add_to_chord_outside_of_one_says_so(backend: MemoryBackend, t: Any) -> None:
    alone = t.adding.delay(t.same.s(1))
    within = group(t.adding.s(t.same.s(1))).delay()
    backend.drain()
    for result in (alone, within[0]):
        with pytest.raises(ValueError, match="not member of any chord"):
            result.get()
    with pytest.raises(ValueError, match="not member of any chord"):
        t.adding.add_to_chord(t.same.s(1))


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("what", "results"),
    [
        (lambda t: t.same.s("more"), ["more"]),
        (lambda t: t.add.s(1, 1) | t.add.s(2), [4]),
        (lambda t: group(t.same.s(1), t.same.s(2)), [1, 2]),
        (lambda t: chord([t.same.s(1), t.same.s(2)], t.same.s()), [[1, 2]]),
    ],
)
def test_body_is_given_what_was_added(
    backend: MemoryBackend, t: Any, what: Any, results: list[Any], *, lazy: bool
) -> None:
    result = chord([t.adding.s(what(t), lazy=lazy), t.same.s("other")], t.same.s()).delay()
    backend.drain()
    assert result.get() == ["member", "other", *results]


def test_added_calls_may_add(backend: MemoryBackend, t: Any) -> None:
    result = chord([t.adding.s(t.same.s(1) | t.adding.si(t.same.s("last"))), t.same.s(2)], t.same.s()).delay()
    backend.drain()
    assert result.get() == ["member", 2, "member", "last"]


def test_replaced_job_may_have_an_argument_called_result(backend: MemoryBackend, t: Any) -> None:
    @outsourced.task(name="replacing.named", bind=True)
    def named(self: Any, result: int) -> Any:
        return self.replace(t.add.s(result, 1))

    result = named.delay(result=1)
    backend.drain()
    assert result.get() == 2


@pytest.mark.parametrize("canvas", [lambda sig: sig, lambda sig: group(sig, sig), lambda sig: sig | sig])
def test_replacement_keeps_its_result_whatever_its_task_says(
    backend: MemoryBackend, t: Any, canvas: Any
) -> None:
    """Who is to have the result comes to wait for it only after the replacement may have run."""

    @outsourced.task(name="replacing.silent", ignore_result=True)
    def silent(*_: Any) -> str:
        return "told"

    @outsourced.task(name="replacing.early", bind=True)
    def early(self: Any) -> Any:
        try:
            return self.replace(canvas(silent.s()))
        finally:
            backend.drain()

    result = early.delay()
    backend.drain()
    assert result.get() in ("told", ["told", "told"])


def test_replaced_by_an_empty_group(backend: MemoryBackend, t: Any) -> None:
    @outsourced.task(name="replacing.by_none", bind=True)
    def by_none(self: Any) -> Any:
        return self.replace(group())

    result = by_none.delay()
    backend.drain()
    assert result.get() == []


def test_results_that_hang_together_have_an_end(backend: MemoryBackend, t: Any) -> None:
    result = t.replaced.delay()
    backend.drain()
    assert [value for _, value in result.collect()] == [3, 3]
    assert [len(list(one.children)) for one in (result, *result.children)] == [1, 0]
