"""Canvas: what is laid out, what each call is given, and what becomes of the results."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from copy import deepcopy
from io import StringIO
from typing import Any

import pytest

import outsourced
from outsourced import (
    AsyncResult,
    GroupResult,
    Signature,
    chain,
    chord,
    chunks,
    group,
    signature,
    task_settings,
)
from outsourced.canvas import StampingVisitor, plan
from outsourced.errors import ChordError, JobRevoked, NotRegistered, PayloadError
from outsourced.failures import RemoteFailure
from outsourced.payload import decode_call
from outsourced.registry import registry
from outsourced.resultsets import ResultSet, result_from_tuple
from outsourced.states import State
from outsourced.task_settings import TaskSettings
from outsourced.testing import MemoryBackend

called: list[Any] = []


@pytest.fixture
def backend() -> Iterator[MemoryBackend]:
    called.clear()
    with MemoryBackend() as backend:
        yield backend


class Tasks:
    """The tasks of these tests, registered while one runs."""

    def __init__(self) -> None:
        made = {}
        for function in (add, mul, total, same, boom, pair, note, by_id, by_three, bound):
            made[function.__name__] = outsourced.task(
                name=f"canvas.{function.__name__}", bind=function is bound
            )(function)
        made["quiet"] = outsourced.task(name="canvas.quiet", ignore_result=True)(same)
        self.__dict__.update(made)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def add(x: int, y: int) -> int:
    return x + y


def mul(x: int, y: int) -> int:
    return x * y


def total(xs: list[int]) -> int:
    return sum(xs)


def same(x: Any = None) -> Any:
    return x


def boom(*args: Any) -> None:
    raise ValueError("no")


def pair(x: Any, y: Any = 0) -> list[Any]:
    return [x, y]


def note(*args: Any, **kwargs: Any) -> None:
    called.append((args, kwargs))


def by_id(job_id: str) -> None:
    called.append(job_id)


def by_three(request: Any, exc: Exception, traceback: str, *more: Any) -> None:
    called.append((request.id, request.task, list(request.args), exc, traceback, more))


def bound(self: Any, request: Any, exc: Exception, traceback: str) -> None:
    called.append((self.request.id, request.id, exc))


@pytest.fixture
def t() -> Iterator[Any]:
    before = dict(registry._tasks)
    yield Tasks()
    registry._tasks = before


def test_signature_holds_a_call(t: Any) -> None:
    made = t.add.signature((2,), {"y": 3}, countdown=10)
    assert (made.task, made.args, made.kwargs, made.options) == (
        "canvas.add",
        (2,),
        {"y": 3},
        {"countdown": 10},
    )
    assert repr(t.add.s(2, y=3)) == "canvas.add(2, y=3)"
    assert made() == 5


def test_partial_arguments_come_first(backend: MemoryBackend, t: Any) -> None:
    assert t.pair.s(2)(1) == [1, 2]
    assert t.pair.si(1, 2)(9) == [1, 2]
    results = [t.pair.s(2).delay(1), t.pair.s(2).apply_async((1,)), t.pair.s(2).clone((1,)).delay()]
    backend.drain()
    assert [result.get() for result in results] == [[1, 2]] * 3


def test_a_name_will_do(backend: MemoryBackend, t: Any) -> None:
    result = (signature("canvas.add", (1, 2)) | signature("elsewhere.task", queue="default")).delay()
    assert [job.task for job in backend.jobs()] == ["canvas.add", "elsewhere.task"]
    assert result.state == "PENDING"


def test_chain_gives_each_the_result_before(backend: MemoryBackend, t: Any) -> None:
    result = (t.add.s(1, 2) | t.mul.s(10) | t.add.s(5)).delay()
    assert [job.state for job in backend.jobs()] == [State.UNASSIGNED, State.WAITING, State.WAITING]
    backend.drain()
    assert (result.get(), result.parent.get(), result.parent.parent.get()) == (35, 30, 3)
    assert result.parent.parent.parent is None


@pytest.mark.parametrize("form", ["iterable", "nested", "arguments"])
def test_chain_is_made_in_several_ways(backend: MemoryBackend, t: Any, form: str) -> None:
    tasks = [t.add.s(2), t.mul.s(3), t.same.s()]
    made = {
        "iterable": lambda: chain(tasks),
        "nested": lambda: chain(tasks[0], chain(tasks[1], tasks[2])),
        "arguments": lambda: tasks[0] | (tasks[1] | tasks[2]),
    }[form]()
    assert isinstance(made, chain)
    assert len(made.tasks) == 3
    result = made.delay(1)
    backend.drain()
    assert result.get() == 9


def test_immutable_takes_no_result(backend: MemoryBackend, t: Any) -> None:
    result = (t.add.s(1, 2) | t.add.si(4, 4) | t.same.s().set(immutable=True)).delay()
    backend.drain()
    assert (result.get(), result.parent.get()) == (None, 8)


def test_a_result_that_nobody_keeps_is_passed_on(backend: MemoryBackend, t: Any) -> None:
    result = (t.quiet.s(7) | t.same.s()).delay()
    backend.drain()
    assert result.get() == 7


def test_group_gives_results_in_its_order(backend: MemoryBackend, t: Any) -> None:
    result = group(t.add.s(n, n) for n in range(4)).delay()
    assert isinstance(result, GroupResult)
    assert (len(result), result.ready(), result.waiting(), result.completed_count()) == (4, False, True, 0)
    backend.drain()
    assert result.get() == result.join() == list(result.iterate()) == [0, 2, 4, 6]
    assert (result.ready(), result.successful(), result.failed(), result.completed_count()) == (
        True,
        True,
        False,
        4,
    )


def test_groups_in_groups_are_unrolled(backend: MemoryBackend, t: Any) -> None:
    result = group(t.same.s(1), group(t.same.s(2), group(t.same.s(3)))).delay()
    backend.drain()
    assert result.get() == [1, 2, 3]


def test_group_takes_arguments_and_options_for_all(backend: MemoryBackend, t: Any) -> None:
    result = group(t.add.s(1), t.mul.s(2)).apply_async((5,), priority=3)
    assert {job.priority for job in backend.jobs()} == {3}
    backend.drain()
    assert result.get() == [6, 10]


def test_group_of_nothing_is_done(backend: MemoryBackend) -> None:
    result = group().delay()
    assert (result.get(), result.ready(), backend.jobs()) == ([], True, [])


@pytest.mark.parametrize("form", ["call", "both", "pipe"])
def test_chord_calls_its_body_with_all_results(backend: MemoryBackend, t: Any, form: str) -> None:
    header = [t.add.s(n, n) for n in range(3)]
    result = {
        "call": lambda: chord(header)(t.total.s()),
        "both": lambda: chord(header, t.total.s()).delay(),
        "pipe": lambda: (group(header) | t.total.s()).delay(),
    }[form]()
    backend.drain()
    assert (result.get(), result.parent.get()) == (6, [0, 2, 4])


def test_chord_without_header_gives_nothing_to_its_body_and_a_chain_skips_a_group_of_nothing(
    backend: MemoryBackend, t: Any
) -> None:
    result = chord([], t.same.s()).delay()
    after = chain(t.same.s(1), group(), t.same.s()).delay()
    backend.drain()
    assert (result.get(), after.get()) == ([], 1)


def test_chord_without_body_says_so(t: Any) -> None:
    with pytest.raises(ValueError, match="has no body"):
        chord([t.same.s(1)]).delay()


#: canvas → its result: shapes that others have got wrong
NESTED = {
    "chord in a chain": (lambda t: t.same.s(1) | group(t.add.s(1), t.add.s(2)) | t.total.s() | t.add.s(1), 6),
    "chain ending in a group": (lambda t: t.same.s(2) | group(t.add.s(1), t.mul.s(5)), [3, 10]),
    "group after group": (
        lambda t: chain(group(t.same.s(1), t.same.s(2)), group(t.total.s(), t.same.s())),
        [3, [1, 2]],
    ),
    "group, group, task": (
        lambda t: chain(group(t.same.s(1), t.same.s(2)), group(t.total.s(), t.total.s()), t.total.s()),
        6,
    ),
    "chord in a chord": (
        lambda t: chord([chord([t.same.s(1), t.same.s(2)], t.total.s()), t.same.s(5)], t.total.s()),
        8,
    ),
    "group in a header": (lambda t: chord([group(t.same.s(1), t.same.s(2))], t.same.s()), [1, 2]),
    "chain ending in a group in a header": (
        lambda t: chord([t.same.s(1) | group(t.same.s(), t.add.s(1)), t.same.s(9)], t.same.s()),
        [[1, 2], 9],
    ),
    "body is a chain": (lambda t: chord([t.same.s(1), t.same.s(2)], t.total.s() | t.mul.s(10)), 30),
    "body is a group": (
        lambda t: chord([t.same.s(1), t.same.s(2)], group(t.total.s(), t.same.s())),
        [3, [1, 2]],
    ),
    "body is a chord": (
        lambda t: chord([t.same.s(1), t.same.s(2)], chord([t.total.s(), t.total.s()], t.total.s())),
        6,
    ),
    "group of chords": (lambda t: group(chord([t.same.s(42)], t.same.s())), [[42]]),
    "group of chains": (lambda t: group(t.same.s(n) | t.mul.s(n) for n in (2, 3)), [4, 9]),
    "chord of chains": (lambda t: chord([t.same.s(n) | t.mul.s(n) for n in (2, 3)], t.total.s()), 13),
}


@pytest.mark.parametrize("name", NESTED)
def test_nesting(backend: MemoryBackend, t: Any, name: str) -> None:
    make, expected = NESTED[name]
    result = make(t).delay()
    backend.drain()
    assert result.get() == expected
    assert {job.state for job in backend.jobs()} == {State.COMPLETED}


def test_links_are_called_with_the_result(backend: MemoryBackend, t: Any) -> None:
    t.add.apply_async((1, 2), link=[t.note.s(10), t.note.si(11)])
    backend.drain()
    assert sorted(called) == [((3, 10), {}), ((11,), {})]


def test_link_of_a_chain_is_its_last_and_of_a_chord_its_body(backend: MemoryBackend, t: Any) -> None:
    chain(t.add.s(1, 2), t.add.s(3), link=t.note.s()).delay()
    made = chord([t.same.s(1)], t.total.s())
    assert made.link(t.note.s()) in made.body.links
    made.delay()
    backend.drain()
    assert sorted(called) == [((1,), {}), ((6,), {})]


def test_errback_is_called_as_it_can_be(backend: MemoryBackend, t: Any) -> None:
    result = t.boom.s(1).on_error(t.by_id.s()).on_error(t.by_three.s("x")).on_error(t.bound.s()).delay()
    backend.drain()
    by_id, by_three, by_bound = called
    assert by_id == result.id
    job_id, task, args, error, traceback, more = by_three
    assert (job_id, task, args, more) == (result.id, "canvas.boom", [1], ("x",))
    assert (type(error), str(error)) == (ValueError, "no")
    assert "ValueError: no" in traceback
    assert by_bound[1] == result.id


def test_errback_of_what_succeeds_is_not_called(backend: MemoryBackend, t: Any) -> None:
    t.add.apply_async((1, 2), link_error=t.by_id.s())
    backend.drain()
    assert called == []
    assert [job.state for job in backend.jobs(task="canvas.by_id")] == [State.CANCELLED]


def test_immutable_errback_takes_nothing(backend: MemoryBackend, t: Any) -> None:
    t.boom.apply_async(link_error=t.note.si("own"))
    backend.drain()
    assert called == [(("own",), {})]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_errback_of_a_chain_is_called_once_whichever_fails(
    backend: MemoryBackend, t: Any, failing: int
) -> None:
    tasks = [t.same.s(), t.same.s(), t.same.s()]
    tasks[failing] = t.boom.s()
    result = chain(tasks).on_error(t.by_three.s()).delay(1)
    backend.drain()
    ((_, task, _, error, _, _),) = called
    assert (task, str(error)) == ("canvas.boom", "no")
    with pytest.raises(ValueError, match="no"):
        result.get()


def test_errback_may_be_a_chain(backend: MemoryBackend, t: Any) -> None:
    errback = t.same.si(3) | t.note.s()
    t.boom.apply_async(link_error=errback)
    t.add.apply_async((1, 2), link_error=errback)
    backend.drain()
    assert called == [((3,), {})]
    assert State.WAITING not in {job.state for job in backend.jobs()}


def test_errback_of_a_group_is_called_for_each(backend: MemoryBackend, t: Any) -> None:
    made = group(t.boom.s(), t.same.s(1), t.boom.s())
    made.link_error(t.by_id.s())
    result = made.delay()
    backend.drain()
    assert called == [result[0].id, result[2].id]
    assert result.failed()


def test_chord_fails_with_its_header_and_the_others_run(backend: MemoryBackend, t: Any) -> None:
    made = chord([t.same.s(1), t.boom.s(), t.note.s("ran")], t.total.s()).on_error(t.by_three.s())
    result = made.delay()
    backend.drain()
    with pytest.raises(ChordError, match=rf"Dependency {result.parent[1].id} raised ValueError\('no'\)"):
        result.get()
    assert (("ran",), {}) in called
    ((job_id, _, _, error, _, _),) = [call for call in called if len(call) == 6]
    assert (job_id, type(error)) == (result.id, ChordError)


def test_errback_of_a_chain_with_a_chord_hears_of_one_failure(backend: MemoryBackend, t: Any) -> None:
    chain(group(t.boom.s(), t.same.s(1)), t.same.s(), t.same.s()).on_error(t.by_three.s()).delay()
    backend.drain()
    ((_, _, _, error, _, _),) = called
    assert isinstance(error, ChordError)


def test_revoke_of_the_first_ends_the_chain(backend: MemoryBackend, t: Any) -> None:
    result = (t.same.s(1) | t.same.s()).delay()
    result.parent.revoke()
    assert backend.drain() == []
    with pytest.raises(JobRevoked):
        result.get()


def test_map_starmap_and_chunks(backend: MemoryBackend, t: Any) -> None:
    mapped = t.same.map([1, 2]).delay()
    starred = t.add.starmap([(1, 2), (3, 4)]).delay()
    chunked = t.add.chunks(zip(range(5), range(5), strict=True), 2)
    assert isinstance(chunked, chunks)
    summed = chord(chunked.group(), t.same.s()).delay()
    result = chunked.delay()
    backend.drain()
    assert (mapped.get(), starred.get(), result.get()) == ([1, 2], [3, 7], [[0, 2], [4, 6], [8]])
    assert summed.get() == [[0, 2], [4, 6], [8]]


def test_freeze_tells_the_ids_beforehand(backend: MemoryBackend, t: Any) -> None:
    one, made = t.same.s(1), chain(t.same.s(1), group(t.same.s(), t.same.s()))
    frozen = [one.freeze("order-7"), made.freeze()]
    results = [one.delay(), made.delay()]
    assert frozen[0] == results[0]
    assert frozen[1] == results[1]
    assert frozen[1].parent == results[1].parent
    backend.drain()
    assert frozen[1].get() == [1, 1]


def test_clone_leaves_the_original_alone(t: Any) -> None:
    made = t.add.s(1)
    made.clone((2,), priority=3).link(t.note.s())
    assert (made.args, made.options, made.links) == ((1,), {}, [])
    header = group(made)
    header.set(priority=5)
    assert made.options == {}


def test_options_go_to_the_first_of_a_chain_and_the_id_to_the_last(backend: MemoryBackend, t: Any) -> None:
    result = (t.same.s(1) | t.same.s()).apply_async(priority=4, task_id="mine")
    assert [job.priority for job in backend.jobs()] == [4, 0]
    assert result.id == "mine"


def test_all_or_nothing(backend: MemoryBackend, t: Any) -> None:
    with pytest.raises(TypeError, match=r"canvas\.add"):
        chain(t.same.s(1), t.add.s(1, 2)).delay()
    with pytest.raises(TypeError, match="no signature"):
        chain(t.same.s(1), t.add)  # type: ignore[arg-type]
    assert backend.jobs() == []


def test_enqueue_many_takes_signatures(backend: MemoryBackend, t: Any) -> None:
    results = outsourced.enqueue_many([(t.add, (1, 2)), t.add.s(5, 6), chain(t.same.s(1), t.add.s(1))])
    backend.drain()
    assert [result.get() for result in results] == [3, 11, 2]


def test_too_many_waits_are_refused(backend: MemoryBackend, t: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MAX_EDGES", 99)
    with pytest.raises(PayloadError, match="let one task collect"):
        chain(group(t.same.s(n) for n in range(10)), group(t.same.s() for _ in range(10))).delay()
    assert backend.jobs() == []


def test_results_travel_as_ids(backend: MemoryBackend, t: Any) -> None:
    result = chain(t.same.s(1), group(t.same.s(), t.add.s(1)), t.total.s()).delay()
    again = result_from_tuple(result.as_tuple())
    backend.drain()
    assert isinstance(again, AsyncResult)
    assert (again.get(), again.parent.get(), again.parent.parent.get()) == (3, [1, 2], 1)


def test_result_set_calls_back_when_all_have_been_seen(backend: MemoryBackend, t: Any) -> None:
    seen: list[Any] = []
    results = ResultSet([t.add.delay(1, 2), t.boom.delay(), t.add.delay(3, 4)])
    results.then(seen.append, lambda error: seen.append(str(error)))
    ResultSet([]).then(lambda none: seen.append(len(none)))
    backend.drain()
    assert seen == [0]
    results.get(propagate=False)
    assert seen == [0, "no", results]


def test_graph_writes_itself_for_graphviz(backend: MemoryBackend, t: Any) -> None:
    result = t.add.apply_async((1, 2), link=t.add.s(10))
    backend.drain()
    (child,) = result.children
    text = StringIO()
    result.graph.to_dot(text)
    assert text.getvalue().splitlines() == [
        "digraph results {", f'  "{result}";', f'  "{child}";', f'  "{result}" -> "{child}";', "}",
    ]  # fmt: skip


def test_result_set_is_a_list_of_results(backend: MemoryBackend, t: Any) -> None:
    one, other = t.same.delay(1), t.same.delay(2)
    results = ResultSet([one])
    results.add(other)
    results.add(one)
    assert len(results) == 2
    results.remove(one)
    with pytest.raises(KeyError):
        results.remove(one)
    results.revoke()
    backend.drain()
    assert [one.state, other.state] == ["SUCCESS", "REVOKED"]


def test_a_task_enqueues_a_canvas_too(backend: MemoryBackend, t: Any) -> None:
    ids = []

    @outsourced.task(name="canvas.outer")
    def outer() -> None:
        ids.append((t.same.s(1) | t.add.s(1)).delay().id)

    outer.delay()
    backend.drain()
    assert AsyncResult(ids[0]).get() == 2


def test_get_of_a_group_whose_time_is_over_says_so(backend: MemoryBackend, t: Any) -> None:
    with pytest.raises(outsourced.errors.TimeoutError, match="not all of 2"):
        group(t.same.s(1), t.same.s(2)).delay().get(timeout=0)


def test_large_group(backend: MemoryBackend, t: Any) -> None:
    assert len(group(t.same.s(n) for n in range(2000)).delay()) == 2000


@pytest.fixture
def eagerly() -> Iterator[None]:
    with task_settings.use(TaskSettings(always_eager=True)):
        yield


@pytest.mark.parametrize("name", NESTED)
def test_always_eager_runs_it_here(backend: MemoryBackend, eagerly: None, t: Any, name: str) -> None:
    make, expected = NESTED[name]
    assert make(t).delay().get() == expected
    assert backend.jobs() == []


def test_always_eager_calls_links_and_errbacks(backend: MemoryBackend, eagerly: None, t: Any) -> None:
    t.add.apply_async((1, 2), link=[t.note.s(1), t.add.s(4) | t.note.s(2)])
    result = t.boom.apply_async((1,), link_error=[t.by_id.s(), t.by_three.s()])
    first, second, by_id, by_three = called
    assert (first, second) == (((3, 1), {}), ((7, 2), {}))
    assert (by_id, by_three[0], str(by_three[3])) == (result.id, result.id, "no")
    assert backend.jobs() == []


def test_always_eager_raises_what_fails_in_a_chain(backend: MemoryBackend, eagerly: None, t: Any) -> None:
    with pytest.raises(ValueError, match="no"):
        (t.boom.s() | t.same.s()).delay()
    result = (t.same.s(1) | t.boom.s()).delay()
    assert (result.state, result.parent.get()) == ("FAILURE", 1)


def test_always_eager_enqueues_what_only_workers_know(backend: MemoryBackend, eagerly: None, t: Any) -> None:
    signature("elsewhere.task").on_error(t.by_id.s()).delay()
    assert [job.task for job in backend.jobs()] == ["elsewhere.task", "canvas.by_id"]
    with pytest.raises(NotRegistered, match="runs on workers only"):
        (t.same.s(1) | signature("elsewhere.task")).delay()


def test_signature_goes_through_json_and_arguments(backend: MemoryBackend, t: Any) -> None:
    made = chord([t.same.s(1) | t.add.s(1), t.same.s(2)], t.total.s().on_error(t.by_id.s()))
    for again in (json.loads(json.dumps(made)), pickle.loads(pickle.dumps(made)), deepcopy(made)):
        assert json.dumps(signature(again)) == json.dumps(made)
    carried = t.same.delay(made)
    backend.drain()
    result = signature(carried.get()).delay()
    backend.drain()
    assert result.get() == 4


def test_stamps_are_on_every_call(backend: MemoryBackend, t: Any) -> None:
    class Names(StampingVisitor):
        def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
            return {"named": sig.task, "other": 1, "stamped_headers": ["named"]}

    made = chord([t.same.s(1), t.same.s(2) | t.add.s(1)], t.total.s().on_error(t.by_id.s()))
    made.stamp(Names(), tenant="a")
    made.delay()
    stamps = [decode_call(job.payload).extras["stamps"] for job in backend.jobs()]
    assert len(stamps) == 5
    assert all(one["tenant"] == "a" for one in stamps)
    assert {one["named"] for one in stamps} == {"canvas.same", "canvas.add", "canvas.total", "canvas.by_id"}
    assert all(one.keys() == {"tenant", "named"} for one in stamps)


def test_job_alone_carries_nothing_of_a_canvas(backend: MemoryBackend, t: Any) -> None:
    t.same.delay(1)
    t.same.s(1).delay()
    assert [decode_call(job.payload).extras for job in backend.jobs()] == [{}, {}]


def test_long_chain_tells_each_of_the_next_three(backend: MemoryBackend, t: Any) -> None:
    chain(t.same.s() for _ in range(50)).delay()
    first = backend.jobs()[0]
    told = decode_call(first.payload).extras["canvas"]["chain"]
    assert [one["options"]["task_id"] for one in reversed(told)] == [
        str(job.id) for job in backend.jobs()[1:4]
    ]


def test_signatures_are_signatures(t: Any) -> None:
    for made in (t.same.s(), chain(t.same.s()), group(t.same.s()), chord([t.same.s()], t.same.s())):
        assert isinstance(made, Signature)
    assert RemoteFailure is not ChordError
