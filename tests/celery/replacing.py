"""The cases of `Task.replace`: by what, where in a canvas, and what becomes of links and errors."""

# mypy: ignore-errors

from __future__ import annotations

from tests.celery.api import CASES, Case, case, ended, kind
from tests.celery.canvases import Tasks, go


def replaced(table, *, seen=0, eager=True):
    """A case for each: by what a task is replaced, given `x`, and the canvas that it stands in."""
    for name, (by, around) in table.items():

        def build(api, by=by, around=around):
            t = Tasks(api)

            @api.task(bind=True)
            def other(self, x=5):
                return self.replace(by(api.canvas, t, x))

            return lambda: go(api, around(api.canvas, t, other), seen=seen)

        CASES.append(Case(f"replace_{name.replace(' ', '_')}", build, eager=eager))


def alone(c, t, other):
    return other.s(5)


def in_a_chain(c, t, other):
    return t.add.s(1, 1) | other.s() | t.same.s()


replaced(
    {
        "by a call": (lambda c, t, x: t.add.s(x, 1), alone),
        "by an immutable call": (lambda c, t, x: t.add.si(x, 1), alone),
        "by a chain": (lambda c, t, x: t.add.s(x, 1) | t.mul.s(2), alone),
        "by a group": (lambda c, t, x: c.group(t.add.s(x, n) for n in range(3)), alone),
        "by a group of one": (lambda c, t, x: c.group([t.add.s(x, 1)]), alone),
        "by a group of chains": (lambda c, t, x: c.group(t.same.s(x) | t.mul.s(n) for n in (2, 3)), alone),
        "by a chord": (lambda c, t, x: c.chord([t.add.s(x, n) for n in range(3)], t.total.s()), alone),
        "by a chain that ends in a group": (
            lambda c, t, x: t.same.s(x) | c.group(t.add.s(1), t.add.s(2)),
            alone,
        ),
        "by what returns None": (lambda c, t, x: t.same.si(None), alone),
        "by a map": (lambda c, t, x: t.total.map([[x], [x, x]]), alone),
        "in a chain by a call": (lambda c, t, x: t.add.s(x, 1), in_a_chain),
        "in a chain by a chain": (lambda c, t, x: t.add.s(x, 1) | t.mul.s(2), in_a_chain),
        "in a chain by a group": (lambda c, t, x: c.group(t.add.s(x, n) for n in range(3)), in_a_chain),
        "in a chain by a chord": (
            lambda c, t, x: c.chord([t.add.s(x, n) for n in range(3)], t.total.s()),
            in_a_chain,
        ),
        "in a group": (
            lambda c, t, x: t.add.s(x, 1) | t.mul.s(2),
            lambda c, t, other: c.group(other.s(1), t.same.s(2), other.s(3)),
        ),
        "in a header": (
            lambda c, t, x: t.add.s(x, 1) | t.mul.s(2),
            lambda c, t, other: c.chord([other.s(1), t.same.s(2), other.s(3)], t.total.s()),
        ),
        "of a body": (
            lambda c, t, x: t.total.s(x) | t.mul.s(2),
            lambda c, t, other: c.chord([t.same.s(1), t.same.s(2)], other.s()),
        ),
        "first in a chain": (lambda c, t, x: t.add.s(x, 1), lambda c, t, other: other.s(5) | t.mul.s(10)),
        "by what fails": (lambda c, t, x: t.boom.s(), alone),
        "by a chain of which the first fails": (lambda c, t, x: t.boom.s() | t.same.s(), alone),
        "in a chain by what fails": (lambda c, t, x: t.boom.s(), in_a_chain),
    }
)
replaced(
    {"by a group of which one fails": (lambda c, t, x: c.group(t.same.s(1), t.boom.s()), alone)}, eager=False
)
replaced(
    {
        "with a link": (
            lambda c, t, x: t.add.s(x, 1) | t.mul.s(2),
            lambda c, t, other: other.s(5).set(link=t.note.s()),
        ),
        "with an errback": (
            lambda c, t, x: t.boom.s(),
            lambda c, t, other: other.s().set(link_error=t.by_id.s()),
        ),
        "with an errback of three": (
            lambda c, t, x: t.boom.s(),
            lambda c, t, other: other.s().set(link_error=t.by_three.s()),
        ),
        "by what has a link": (lambda c, t, x: t.add.s(x, 1).set(link=t.note.s()), alone),
        "by what has an errback": (lambda c, t, x: t.boom.s().set(link_error=t.by_id.s()), alone),
    },
    seen=1,
    eager=False,
)


@case()
def replace_again_and_again(api):
    @api.task(bind=True)
    def down(self, n):
        return n if n == 0 else self.replace(down.s(n - 1))

    return lambda: go(api, down.s(4))


@case()
def replace_is_the_end_of_the_task(api):
    t = Tasks(api)

    @api.task(bind=True)
    def other(self):
        api.seen.append("before")
        value = self.replace(t.same.s(1))
        if not self.request.is_eager:
            api.seen.append("after")
        return value

    return lambda: go(api, other.s(), seen=1)


@case(eager=False)
def replace_raises_ignore(api):
    t = Tasks(api)

    @api.task(bind=True)
    def other(self):
        try:
            return self.replace(t.same.s(1))
        except api.exceptions.Ignore:
            api.seen.append("ignored")
            raise

    return lambda: go(api, other.s(), seen=1)


@case()
def replace_by_nothing(api):
    @api.task(bind=True)
    def other(self):
        try:
            return self.replace(api.canvas.chain())
        except api.exceptions.ImproperlyConfigured as error:
            return kind(error)

    return lambda: go(api, other.s())


@case()
def replace_by_a_handler_of_ones_own(api):
    t = Tasks(api)

    class Counting(api.base):
        abstract = True

        def on_replace(self, sig):
            api.seen.append("replaced")
            return super().on_replace(sig)

    @api.task(bind=True, base=Counting)
    def other(self):
        return self.replace(t.same.s(1))

    return lambda: go(api, other.s(), seen=1)


@case(eager=False)
def replace_after_a_retry(api):
    t = Tasks(api)

    @api.task(bind=True)
    def other(self):
        if not self.request.retries:
            raise self.retry(countdown=0)
        return self.replace(t.add.s(1, 2))

    return lambda: go(api, other.s())


@case(eager=False)
def replace_calls_no_hook_of_its_own(api):
    t = Tasks(api)

    class Told(api.base):
        abstract = True

        def on_success(self, *args):
            api.seen.append("success")

        def after_return(self, *args):
            api.seen.append("return")

    @api.task(bind=True, base=Told)
    def other(self):
        return self.replace(t.note.s())

    return lambda: go(api, other.s(), seen=1)


@case(eager=False)
def replace_ends_as_its_replacement(api):
    t = Tasks(api)

    @api.task(bind=True)
    def other(self, by):
        return self.replace(getattr(t, by).s())

    return lambda: [ended(api.send(other, by)) for by in ("same", "boom")]
