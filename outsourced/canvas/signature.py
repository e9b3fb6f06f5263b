"""A call not yet made: a task with arguments and options, to be enqueued, linked or combined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Self, Unpack, cast
from uuid import UUID

from outsourced import calls
from outsourced.backend import HOST_SESSION
from outsourced.calls import Options
from outsourced.canvas.plan import AnyResult, Feed, Laid, Plan, Target, called_by, fed_by
from outsourced.records import Edge, NewJob
from outsourced.registry import registry
from outsourced.results import AsyncResult


class Signature:
    """One call, or a `chain`, `group` or `chord` of calls.

    Combining makes new ones; `set`, `link` and `freeze` change this one.
    """

    def __init__(
        self,
        task: Target | str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        **more: Any,
    ) -> None:
        """`immutable`: it takes no result, only its own arguments. `more` are options too."""
        self._task: Target | str = task
        self.args: tuple[Any, ...] = tuple(args or ())
        self.kwargs: dict[str, Any] = dict(kwargs or {})
        self.options: dict[str, Any] = {}
        self.immutable = immutable
        self.links: list[Signature] = []
        self.errbacks: list[Signature] = []
        self.set(**{**(options or {}), **more})

    @property
    def task(self) -> str:
        """The task's name."""
        return self._task if isinstance(self._task, str) else self._task.name

    name = task

    @property
    def type(self) -> Target:
        """The task itself, or what stands for one that is not known here."""
        if not isinstance(self._task, str):
            return self._task
        known: Target | None = registry.get(self._task)
        return known or _Named(self._task)

    @property
    def id(self) -> str | None:
        """The id its job will have; None until `freeze`."""
        task_id = self.options.get("task_id")
        return None if task_id is None else str(task_id)

    def __repr__(self) -> str:
        given = [repr(arg) for arg in self.args]
        given += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.task}({', '.join(given)})"

    def __or__(self, other: object) -> Signature:
        """This, then the other, which is given its result."""
        return NotImplemented if not isinstance(other, Signature) else chain(self, other)

    def __invert__(self) -> Any:
        """Enqueues it and waits for the result."""
        return self.apply_async().get()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs it here and now, with these arguments before its own."""
        args, kwargs = self._merged(args, kwargs)
        return self.type(*args, **kwargs)  # type: ignore[operator]

    def clone(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """A copy, with these arguments before its own, and further options."""
        made = copy(self)
        made.args, made.kwargs = self._merged(args, kwargs or {})
        made.options = dict(self.options)
        made.links, made.errbacks = list(self.links), list(self.errbacks)
        return made.set(**options)

    def set(self, immutable: bool | None = None, **options: Any) -> Self:  # noqa: FBT001 - Celery's order
        """Adds options: those of `apply_async`, and `link` and `link_error`."""
        if immutable is not None:
            self.immutable = immutable
        for link in _listed(options.pop("link", None)):
            self.link(link)
        for errback in _listed(options.pop("link_error", None)):
            self.link_error(errback)
        self.options.update(options)
        return self

    def link(self, callback: Signature) -> Signature:
        """Has another called with the result; gives that other one."""
        if callback not in self.links:
            self.links.append(callback)
        return callback

    def link_error(self, errback: Signature) -> Signature:
        """Has another called if it fails: with request, exception and traceback, or with the id alone."""
        if errback not in self.errbacks:
            self.errbacks.append(errback)
        return errback

    def on_error(self, errback: Signature) -> Self:
        """As `link_error`, giving this one."""
        self.link_error(errback)
        return self

    def freeze(self, _id: str | UUID | None = None) -> AnyResult:
        """Decides its id now; gives the result it will have."""
        self.options["task_id"] = _id or self.options.get("task_id") or calls.job_id(None)
        return AsyncResult(self.options["task_id"])

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Enqueues it, with these arguments before its own."""
        return self.apply_async(args, kwargs)

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> Any:
        """As `delay`, if, and only if, the transaction of the app's `db.session` commits."""
        return self.apply_async(args, kwargs, session=HOST_SESSION)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        session: Any = None,
        **options: Any,
    ) -> Any:
        """Enqueues it with all that is linked to it: all of its jobs, or none.

        Gives an AsyncResult, or of a group a GroupResult. Raises what a task's `apply_async` does.
        """
        plan = Plan()
        result = self.lay(plan, args, kwargs, **options)
        plan.enqueue(session)
        return result

    def lay(
        self,
        plan: Plan,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AnyResult:
        """Adds its jobs to a plan that is enqueued later."""
        return self.clone(args or (), kwargs, **options).laid(plan, Feed(), None).result

    def laid(self, plan: Plan, feed: Feed, parent: AnyResult | None) -> Laid:
        """Adds its jobs to the plan: the first ones fed so, and those linked after them."""
        job = self._new_job(feed)
        plan.add(job)
        result: AsyncResult[Any] = AsyncResult(self.options.get("task_id") or job.id, parent=parent)
        return self._with_links(plan, Laid(ends=job.id, raisers=[job.id], result=result))

    def _with_links(self, plan: Plan, laid: Laid) -> Laid:
        for link in self.links:
            link.clone().laid(plan, fed_by(laid.ends), laid.result)
        for errback in self.errbacks:
            if laid.raisers:
                since = len(plan.jobs)
                errback.clone().laid(plan, called_by(laid.raisers), laid.result)
                plan.call_for(laid.raisers, since)
        return laid

    def _new_job(self, feed: Feed) -> NewJob:
        given = () if self.immutable else feed.given
        args = (*given, *self.args)
        if not feed.edges:
            return self.type.new_job(args, self.kwargs, **cast(Options, self.options))
        edges = feed.edges
        if self.immutable:
            edges = tuple(replace(edge, passes=False) for edge in edges)
        return self.type.waiting_job(args, self.kwargs, after=edges, options=self.options)

    def _merged(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.immutable:
            return self.args, dict(self.kwargs)
        return (*args, *self.args), {**self.kwargs, **kwargs}


class chain(Signature):  # noqa: N801 - Celery's name
    """Calls one after another, each with the result of the one before."""

    def __init__(self, *tasks: Signature | Iterable[Signature], **options: Any) -> None:
        """Signatures, or one iterable of them. Options are those of the first, but for the id, the last's."""
        self.tasks: list[Signature] = []
        for task in signatures_in(tasks):
            plain = type(task) is chain and not (task.links or task.errbacks)
            self.tasks += task.tasks if plain else [task]  # type: ignore[attr-defined]
        super().__init__("outsourced.chain", options=options)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.tasks))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Enqueues it, as `delay` does."""
        return self.apply_async(args, kwargs)

    def clone(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """A copy, with these arguments before the first one's own."""
        made = copy(self)
        made.tasks = [task.clone() for task in self.tasks]
        if made.tasks:
            made.tasks[0] = made.tasks[0].clone(args, kwargs)
        made.links, made.errbacks = list(self.links), list(self.errbacks)
        return made.set(**options)

    def set(self, immutable: bool | None = None, **options: Any) -> Self:  # noqa: FBT001 - Celery's order
        links = {name: options.pop(name) for name in ("link", "link_error") if name in options}
        super().set(**links)
        if self.tasks:
            if "task_id" in options:
                self.tasks[-1].set(task_id=options.pop("task_id"))
            self.tasks[0].set(immutable, **options)
        return self

    def freeze(self, _id: str | UUID | None = None) -> AnyResult:
        result: AnyResult | None = None
        for task in self.tasks:
            frozen = task.freeze(_id if task is self.tasks[-1] else None)
            head(frozen).parent = result
            result = frozen
        if result is None:
            raise ValueError("this chain is empty")
        return result

    def laid(self, plan: Plan, feed: Feed, parent: AnyResult | None) -> Laid:
        if not self.tasks:
            raise ValueError("this chain is empty")
        raisers: list[UUID] = []
        for task in self.tasks:
            laid = task.laid(plan, feed, parent)
            feed, parent = fed_by(laid.ends, before=feed), laid.result
            # what comes after several jobs fails with a ChordError when one of them does: one error, not two
            several = isinstance(laid.ends, list) and task is not self.tasks[-1]
            raisers += [] if several else laid.raisers
        return self._with_links(plan, laid._replace(raisers=raisers))


class _Named:
    """A task of which only the name is known here."""

    def __init__(self, name: str) -> None:
        self.name = name

    def new_job(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> NewJob:
        return calls.new_job(self.name, args or (), kwargs or {}, options=options)

    def waiting_job(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        after: tuple[Edge, ...],
        options: Mapping[str, Any],
    ) -> NewJob:
        return replace(self.new_job(args, kwargs, **cast(Options, options)), after=after)


def signature(
    task: Target | str | Signature,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    immutable: bool = False,
    **options: Any,
) -> Signature:
    """The signature of a call of this task, or task's name; a copy of one that is one already."""
    if isinstance(task, Signature):
        return task.clone(args or (), kwargs, **options)
    return Signature(task, args, kwargs, options, immutable=immutable)


def maybe_signature(thing: Any) -> Any:
    """The signature itself; None for None."""
    if thing is None or isinstance(thing, Signature):
        return thing
    raise TypeError(f"{thing!r} is no signature: make one with task.s(…)")


def head(result: AnyResult) -> AnyResult:
    """The first of a result and its parents that has no parent."""
    while result.parent is not None:
        result = result.parent
    return result


def signatures_in(given: Iterable[Signature | Iterable[Signature]]) -> list[Signature]:
    """Copies of the signatures: several, or those of one iterable. Raises TypeError for what is none."""
    parts = list(given)
    if len(parts) == 1 and not isinstance(parts[0], Signature):
        parts = list(parts[0])
    return [maybe_signature(part).clone() for part in parts]


def _listed(links: Any) -> list[Signature]:
    found = [] if links is None else [links] if isinstance(links, Signature) else list(links)
    return [maybe_signature(link) for link in found]
