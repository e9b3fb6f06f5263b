"""The cases of canvas: shapes, failures at each place, links and errbacks, and how signatures are made."""

# mypy: ignore-errors

from __future__ import annotations

import json
import re
import time

from tests.celery.api import CASES, Api, Case, case, kind

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Tasks:
    """The tasks that canvases are made of."""

    def __init__(self, api: Api):  # noqa: C901 - a list of tasks
        @api.task()
        def add(x, y):
            return x + y

        @api.task()
        def mul(x, y):
            return x * y

        @api.task()
        def total(xs):
            return sum(xs)

        @api.task()
        def same(x=None):
            return x

        @api.task()
        def pair(x, y=0, z=0):
            return [x, y, z]

        @api.task()
        def boom(*args, **kwargs):
            raise ValueError("no")

        @api.task()
        def note(*args, **kwargs):
            api.seen.append([list(args), kwargs])

        @api.task()
        def by_id(task_id):
            api.seen.append("by id")

        @api.task()
        def by_three(request, exc, traceback):
            api.seen.append([kind(exc), told(exc), bool(request.id)])

        for task in (add, mul, total, same, pair, boom, note, by_id, by_three):
            setattr(self, task.__name__.rpartition(".")[2], task)


def shape(result):
    """How it ended: a value, an exception, or of a group a list of these."""
    if hasattr(result, "results"):
        return [shape(one) for one in result.results]
    for _ in range(100):  # for whoever asks too early, Celery raises what a parent raised
        if result.ready():
            break
        time.sleep(0.02)
    if not result.ready():
        return [result.state]
    value = result.get(timeout=10, interval=0.01, propagate=False, disable_sync_subtasks=False)
    return [result.state, kind(value), told(value)] if isinstance(value, Exception) else value


def told(error):
    """What it says, without ids; which of a header failed, Celery's store in memory does not always find."""
    return UUID.sub("ID", str(error)).removeprefix("Dependency ID raised ")


def go(api, made, *args, seen=0, **options):
    """Runs the canvas; gives how it ended, and what its tasks wrote down once it is so much."""
    try:
        result = made.apply(args, **options) if api.eager else made.apply_async(args, **options)
    except Exception as error:  # noqa: BLE001 - what a task raised that ran here and now
        return ["raised", kind(error), told(error), *noted(api, seen)]
    api.settle()
    return [shape(result), *noted(api, seen)]


def noted(api, seen):
    for _ in range(150):
        if len(api.seen) >= seen:
            break
        time.sleep(0.02)
    return [sorted(api.seen, key=repr)] if seen else []


def shapes(table, *, differs=(), worker_differs=(), seen=0):
    for name, make in table.items():

        def build(api, make=make):
            t = Tasks(api)
            return lambda: go(api, make(api.canvas, t), seen=seen)

        CASES.append(
            Case(
                name.replace(" ", "_"),
                build,
                differs=dict(differs).get(name, ""),
                worker_differs=dict(worker_differs).get(name, ""),
            )
        )


# --- shapes ---------------------------------------------------------------------------------------------

shapes(
    {
        "canvas chain": lambda c, t: t.add.s(1, 2) | t.mul.s(10) | t.add.s(5),
        "canvas chain of one": lambda c, t: c.chain(t.add.s(1, 2)),
        "canvas chain of a list": lambda c, t: c.chain([t.add.s(1, 2), t.mul.s(3)]),
        "canvas chain in a chain": lambda c, t: c.chain(t.add.s(1, 2), c.chain(t.mul.s(3), t.add.s(1))),
        "canvas group": lambda c, t: c.group(t.add.s(n, n) for n in range(3)),
        "canvas group of nothing in a chain": lambda c, t: c.chain(t.same.s(1), c.group(), t.pair.s()),
        "canvas group in a group": lambda c, t: c.group(t.same.s(1), c.group(t.same.s(2), t.same.s(3))),
        "canvas group of chains": lambda c, t: c.group(t.same.s(n) | t.mul.s(n) for n in (2, 3)),
        "canvas chord": lambda c, t: c.chord([t.add.s(n, n) for n in range(3)], t.total.s()),
        "canvas chord by pipe": lambda c, t: c.group(t.add.s(n, n) for n in range(3)) | t.total.s(),
        "canvas chord of chains": lambda c, t: c.chord(
            [t.same.s(n) | t.mul.s(n) for n in (2, 3)], t.total.s()
        ),
        "canvas chord of nothing": lambda c, t: c.chord([], t.same.s()),
        "canvas chord with a chain as body": lambda c, t: c.chord(
            [t.same.s(1), t.same.s(2)], t.total.s() | t.mul.s(10)
        ),
        "canvas chord in a chain": lambda c, t: (
            t.same.s(1) | c.group(t.add.s(1), t.add.s(2)) | t.total.s() | t.add.s(1)
        ),
        "canvas chord first in a chain": lambda c, t: (
            c.chord([t.same.s(1), t.same.s(2)], t.total.s()) | t.add.s(5)
        ),
        "canvas chord in a chord": lambda c, t: c.chord(
            [c.chord([t.same.s(1), t.same.s(2)], t.total.s()), t.same.s(5)], t.total.s()
        ),
        "canvas chord in a group": lambda c, t: c.group(
            c.chord([t.same.s(1), t.same.s(2)], t.total.s()), t.same.s(4)
        ),
        "canvas chain with a chord in a group": lambda c, t: c.group(
            t.same.s(1) | c.group(t.add.s(1), t.add.s(2)) | t.total.s(), t.same.s(4)
        ),
        "canvas body is a chord": lambda c, t: c.chord(
            [t.same.s(1), t.same.s(2)], c.chord([t.total.s(), t.total.s()], t.total.s())
        ),
        "canvas group in a header": lambda c, t: c.chord(
            [c.group(t.same.s(1), t.same.s(2)), t.same.s(3)], t.same.s()
        ),
        "canvas immutable in a chain": lambda c, t: t.add.s(1, 2) | t.add.si(4, 4) | t.add.s(1),
        "canvas immutable body": lambda c, t: c.chord([t.same.s(1)], t.same.si(9)),
        "canvas immutable by set": lambda c, t: t.add.s(1, 2) | t.same.s(7).set(immutable=True),
        "canvas keywords in a chain": lambda c, t: t.add.s(1, y=2) | t.pair.s(z=5) | t.same.s(),
        "canvas map": lambda c, t: t.same.map([1, 2]),
        "canvas starmap": lambda c, t: t.add.starmap([(1, 2), (3, 4)]),
        "canvas chunks": lambda c, t: t.add.chunks([(n, n) for n in range(5)], 2).group(),
        "canvas chunks in a chord": lambda c, t: c.chord(
            t.add.chunks([(n, n) for n in range(4)], 2).group(), t.same.s()
        ),
        "canvas starmap in a chain": lambda c, t: t.add.starmap([(1, 2), (3, 4)]) | t.total.s(),
        "canvas signature of a name": lambda c, t: c.signature(t.add.name, args=(1, 2)) | t.mul.s(2),
        "canvas signature of a dict": lambda c, t: c.signature(
            json.loads(
                json.dumps(
                    t.add.s(1, 2) | c.group(t.add.s(1), t.mul.s(y=2)) | t.total.s().on_error(t.by_id.s())
                )
            )
        ),
        "canvas chord of a dict": lambda c, t: c.signature(
            json.loads(json.dumps(c.chord([t.same.s(1), t.same.s(2) | t.add.s(1)], t.total.s())))
        ),
        "canvas clone": lambda c, t: t.pair.s(2, z=3).clone((1,), {"z": 4}),
        "canvas clone of an immutable": lambda c, t: t.pair.si(2, z=3).clone((1,), {"z": 4}),
        "canvas clone of a chain": lambda c, t: (t.pair.s(2) | t.same.s()).clone((1,)),
        "canvas group gives its arguments to all": lambda c, t: c.group(t.pair.s(1), t.pair.s(2)).clone((0,)),
    },
    worker_differs={
        "canvas group in a header": "Celery unrolls it, and its results come in another order",
    },
    differs={
        "canvas clone of a chain": "Celery's clone of a chain drops the arguments",
        "canvas group gives its arguments to all": "Celery's clone of a group drops the arguments",
    },
)

# --- failures -------------------------------------------------------------------------------------------

shapes(
    {
        "canvas chain fails first": lambda c, t: t.boom.s() | t.same.s() | t.same.s(),
        "canvas chain fails in the middle": lambda c, t: t.same.s(1) | t.boom.s() | t.same.s(),
        "canvas chain fails last": lambda c, t: t.same.s(1) | t.same.s() | t.boom.s(),
        "canvas group with one that fails": lambda c, t: c.group(t.same.s(1), t.boom.s(), t.same.s(3)),
        "canvas chord fails in its body": lambda c, t: c.chord([t.same.s(1), t.same.s(2)], t.boom.s()),
        "canvas chord fails in its header": lambda c, t: c.chord([t.same.s(1), t.boom.s()], t.total.s()),
        "canvas chord of one that fails": lambda c, t: c.chord([t.boom.s()], t.total.s()),
        "canvas chord fails in a chain of its header": lambda c, t: c.chord(
            [t.same.s(1), t.same.s(2) | t.boom.s()], t.total.s()
        ),
        "canvas chord fails early in a chain of its header": lambda c, t: c.chord(
            [t.same.s(1), t.boom.s(2) | t.same.s()], t.total.s()
        ),
        "canvas chord fails in a chain": lambda c, t: (
            t.same.s(1) | c.group(t.add.s(1), t.boom.s()) | t.total.s() | t.add.s(1)
        ),
        "canvas chain fails before a chord": lambda c, t: (
            t.boom.s() | c.group(t.add.s(1), t.add.s(2)) | t.total.s()
        ),
        "canvas chord fails in its chain of a body": lambda c, t: c.chord(
            [t.same.s(1)], t.total.s() | t.boom.s() | t.same.s()
        ),
        "canvas map fails": lambda c, t: t.boom.map([1, 2]),
    },
    worker_differs={
        "canvas chain fails before a chord": "here a body fails with a ChordError, whyever its header failed"
    },
)

# --- links and errbacks: what is called, and with what --------------------------------------------------

shapes(
    {
        "canvas link": lambda c, t: t.add.s(1, 2).set(link=t.note.s(10)),
        "canvas link that is immutable": lambda c, t: t.add.s(1, 2).set(link=t.note.si(10)),
        "canvas link with keywords": lambda c, t: t.add.s(1, 2).set(link=t.note.s(k=5)),
        "canvas link of a chain": lambda c, t: c.chain(t.add.s(1, 2), t.add.s(3), link=t.note.s()),
        "canvas link that is a chain": lambda c, t: t.add.s(1, 2).set(link=t.add.s(1) | t.note.s()),
        "canvas errback by id": lambda c, t: t.boom.s(1).on_error(t.by_id.s()),
        "canvas errback by three": lambda c, t: t.boom.s(1).on_error(t.by_three.s()),
        "canvas errback of a chord fails in its body": lambda c, t: c.chord(
            [t.same.s(1)], t.boom.s().on_error(t.by_three.s())
        ),
        "canvas errback of a chord in whose header a chain fails": lambda c, t: c.chord(
            [t.same.s(1), t.boom.s() | t.same.s()], t.total.s().on_error(t.by_three.s())
        ),
        "canvas errback in a group": lambda c, t: c.group(t.same.s(1), t.boom.s().on_error(t.by_three.s())),
    },
    seen=1,
)
for place in range(3):

    def chain_with_errback(c, t, place=place):
        tasks = [t.same.s(), t.same.s(), t.same.s()]
        tasks[place] = t.boom.s()
        return c.chain(tasks).on_error(t.by_three.s())

    shapes({f"canvas errback of a chain failing at {place}": chain_with_errback}, seen=1)


@case()
def canvas_two_links(api):
    t = Tasks(api)
    return lambda: go(api, t.add.s(1, 2).set(link=[t.note.s(1), t.note.s(2)]), seen=2)


@case()
def canvas_link_given_when_it_is_sent(api):
    t = Tasks(api)

    def run():
        return go(api, t.add.s(1), 2, link=t.note.s(), seen=1)

    return run


@case()
def canvas_errback_of_what_succeeds(api):
    t = Tasks(api)
    return lambda: [go(api, t.add.s(1, 2).on_error(t.by_three.s())), api.seen]


@case()
def canvas_linking_twice_is_linking_once(api):
    t = Tasks(api)
    made = t.add.s(1, 2)
    for _ in range(2):
        made.link(t.note.s())
    return lambda: [go(api, made, seen=1), len(made.options["link"])]


# --- signatures -----------------------------------------------------------------------------------------


@case(eager=False)
def canvas_signature_is_a_dict(api):
    t = Tasks(api)

    def run():
        made = t.add.s(1, y=2).set(countdown=0)
        again = json.loads(json.dumps(made))
        return [
            {name: again[name] for name in ("args", "kwargs", "options", "subtask_type", "immutable")},
            again["task"] == t.add.name,
            [(t.add.s(1) | t.add.s(2))["subtask_type"], api.canvas.group(t.add.s(1))["subtask_type"]],
            api.canvas.chord([t.add.s(1)], t.same.s())["subtask_type"],
            t.add.s(1) == t.add.s(1),
            t.add.s(1) == t.add.s(2),
        ]

    return run


@case(eager=False)
def canvas_signature_calls_here(api):
    t = Tasks(api)
    return lambda: [t.add.s(1)(2), t.pair.s(1, z=3)(2, z=4), t.pair.si(1)(2)]


@case()
def canvas_signature_as_an_argument(api):
    t = Tasks(api)

    @api.task()
    def call_back(x, callback):
        made = api.canvas.signature(callback)
        return made(x)

    return lambda: api.end(call_back, 5, t.add.s(1))


@case(eager=False)
def canvas_set_and_freeze(api):
    t = Tasks(api)

    def run():
        made = t.add.s(1, 2).set(task_id="0190a0a0-0000-7000-8000-000000000001", priority=3)
        frozen = (t.add.s(1, 2) | t.add.s(3)).freeze("0190a0a0-0000-7000-8000-000000000002")
        return [made.id, made.options, frozen.id, frozen.parent is not None, frozen.parent.parent]

    return run


@case(eager=False)
def canvas_group_options(api):
    t = Tasks(api)
    return lambda: go(api, api.canvas.group(t.add.s(1), t.mul.s(2)), 5)


@case()
def canvas_partial_arguments_of_a_chain(api):
    t = Tasks(api)
    return lambda: go(api, t.add.s(1) | t.mul.s(2), 5)


@case()
def canvas_arguments_of_a_chord_go_to_its_header(api):
    t = Tasks(api)
    return lambda: go(api, api.canvas.chord([t.add.s(1), t.mul.s(2)], t.total.s()), 5)


@case()
def canvas_parents_of_a_chain(api):
    t = Tasks(api)

    def run():
        made = t.add.s(1, 2) | t.mul.s(10) | t.add.s(5)
        result = made.apply() if api.eager else made.apply_async()
        api.settle()
        result.get(timeout=10, interval=0.01)
        found = []
        while result is not None:
            found.append(shape(result))
            result = result.parent
        return found

    return run


@case()
def canvas_results_of_a_group(api):
    t = Tasks(api)

    def run():
        made = api.canvas.group(t.same.s(1), t.boom.s(), t.same.s(3))
        result = made.apply() if api.eager else made.apply_async()
        api.settle()
        shape(result)
        return [
            len(result),
            result.ready(),
            result.successful(),
            result.failed(),
            result.waiting(),
            result.completed_count(),
            shape(result[2]),
        ]

    return run


# --- what a task reads of its canvas --------------------------------------------------------------------


def looking(api):
    @api.task(bind=True)
    def look(self, *args):
        r = self.request
        return [
            [one["task"].rpartition(".")[2] for one in r.chain or ()],
            r.chord and r.chord["task"].rpartition(".")[2],
            bool(r.group),
            r.group_index,
            [one["task"].rpartition(".")[2] for one in r.callbacks or ()],
            [one["task"].rpartition(".")[2] for one in r.errbacks or ()],
        ]

    return look


@case(eager=False)
def canvas_request_in_a_chain(api):
    t, look = Tasks(api), looking(api)

    def run():
        made = look.s() | t.same.s() | t.pair.s()
        result = made.apply_async()
        api.settle()
        return [shape(result), shape(result.parent.parent)]

    return run


@case(eager=False)
def canvas_request_last_in_a_chain(api):
    t, look = Tasks(api), looking(api)
    return lambda: go(api, t.same.s(1) | look.s())


@case(eager=False)
def canvas_request_in_a_group(api):
    look = looking(api)
    return lambda: go(api, api.canvas.group(look.s(), look.s()))


@case(eager=False)
def canvas_request_in_a_chord(api):
    t, look = Tasks(api), looking(api)
    return lambda: go(api, api.canvas.chord([look.s(), look.s()], t.same.s()))


@case(eager=False)
def canvas_request_in_a_group_in_a_chain(api):
    t, look = Tasks(api), looking(api)
    return lambda: go(api, t.same.s(1) | api.canvas.group(look.s(), look.s()) | t.same.s())


@case(eager=False)
def canvas_request_of_a_body(api):
    t, look = Tasks(api), looking(api)
    return lambda: go(api, api.canvas.chord([t.same.s(1)], look.s() | t.same.s()))


@case(eager=False)
def canvas_request_with_links(api):
    t, look = Tasks(api), looking(api)
    return lambda: go(api, look.s().set(link=t.note.s(), link_error=t.by_id.s()))


@case(eager=False)
def canvas_request_of_a_chain_with_links(api):
    t, look = Tasks(api), looking(api)

    def run():
        result = api.canvas.chain(look.s(), look.s(), link=t.note.s(), link_error=t.by_id.s()).apply_async()
        api.settle()
        return [shape(result), shape(result.parent)]

    return run


@case(eager=False)
def canvas_the_group_is_the_results(api):
    @api.task(bind=True)
    def look(self):
        return self.request.group

    def run():
        result = api.canvas.group(look.s(), look.s()).apply_async()
        api.settle()
        return [one == result.id for one in result.get(timeout=10, interval=0.01)]

    return run


# --- stamps ---------------------------------------------------------------------------------------------


def stamped(api):
    @api.task(bind=True)
    def look(self, *args):
        return [sorted(self.request.stamped_headers or ()), dict(self.request.stamps or {})]

    return look


@case(eager=False)
def canvas_stamps_of_a_call(api):
    look = stamped(api)

    def run():
        made = look.s()
        made.stamp(tenant="a")
        return go(api, made)

    return run


@case(eager=False)
def canvas_stamps_of_a_group(api):
    look = stamped(api)

    def run():
        made = api.canvas.group(look.s(), look.s())
        made.stamp(tenant="a", trace=5)
        return go(api, made)

    return run


@case(eager=False)
def canvas_stamps_again(api):
    look = stamped(api)

    def run():
        made, appended = look.s(), look.s()
        for value in "ab":
            made.stamp(tenant=value)
            appended.stamp(tenant=value, append_stamps=True)
        return [go(api, made), go(api, appended)]

    return run
