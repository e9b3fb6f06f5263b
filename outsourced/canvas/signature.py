"""A call not yet made: a task with arguments and options, to be enqueued, linked or combined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self, Unpack, cast
from uuid import UUID

from outsourced import calls, task_settings
from outsourced.backend import HOST_SESSION
from outsourced.calls import Options
from outsourced.canvas import stamping
from outsourced.canvas.place import NOWHERE, Place
from outsourced.canvas.plan import AnyResult, Feed, Laid, Plan, Target, called_by, fed_by
from outsourced.canvas.stamping import Visitor
from outsourced.errors import NotRegistered
from outsourced.records import Edge, NewJob
from outsourced.registry import registry
from outsourced.results import AsyncResult

#: the classes by what a signature as a dict has as its `subtask_type`
_KINDS: dict[str, type[Signature]] = {}


def _item(name: str) -> Any:
    """An attribute that is the member of this name."""

    def get(signature: dict[str, Any]) -> Any:
        return signature[name]

    def put(signature: dict[str, Any], value: Any) -> None:
        signature[name] = value

    return property(get, put)


class Signature(dict[str, Any]):
    """One call, or a `chain`, `group` or `chord` of calls.

    Combining makes new ones; `set`, `link`, `stamp` and `freeze` change this one. It is a dict of plain
    values, as JSON carries them, of which `signature` makes a signature again.
    """

    kind: ClassVar[str | None] = None  #: of what is no single call

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "kind" in cls.__dict__:
            _KINDS[cls.__dict__["kind"]] = cls

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
        super().__init__(
            task=task if isinstance(task, str) else task.name,
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            options={},
            subtask_type=self.kind,
            immutable=immutable,
        )
        self._task: Target | str = task
        self.set(**{**(options or {}), **more})

    @classmethod
    def from_dict(cls, made: Mapping[str, Any]) -> Signature:
        """The signature that was this dict, or came back from JSON as such a one."""
        kind = _KINDS.get(made.get("subtask_type") or "", Signature)
        restored = kind._restored(made)
        restored.set(**(made.get("options") or {}))
        return restored

    @classmethod
    def _restored(cls, made: Mapping[str, Any]) -> Signature:
        return cls(made["task"], made.get("args"), made.get("kwargs"), immutable=bool(made.get("immutable")))

    def __reduce__(self) -> tuple[Any, ...]:
        return Signature.from_dict, (dict(self),)

    args = _item("args")
    kwargs = _item("kwargs")
    options = _item("options")
    immutable = _item("immutable")

    @property
    def task(self) -> str:
        """The task's name."""
        return cast(str, self["task"])

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

    @property
    def links(self) -> list[Signature]:
        """What is called with its result."""
        return cast(list[Signature], self.options.get("link", []))

    @property
    def errbacks(self) -> list[Signature]:
        """What is called if it fails."""
        return cast(list[Signature], self.options.get("link_error", []))

    def __repr__(self) -> str:
        given = [repr(arg) for arg in self.args]
        given += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.task}({', '.join(given)})"

    def is_nothing(self) -> bool:
        """Whether it consists of no call at all."""
        return False

    def __or__(self, other: object) -> Signature:  # type: ignore[override]
        """This, then the other, which is given its result."""
        if not isinstance(other, Signature):
            return NotImplemented
        return Signature.from_dict({"subtask_type": "chain", "kwargs": {"tasks": [self, other]}})

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
        made = self._copied()
        made.args, made.kwargs = self._merged(args, kwargs or {})
        return made.set(**options)

    def _copied(self) -> Self:
        made = type(self).__new__(type(self))
        made.update(self)
        made._task = self._task
        options = self.options
        made.options = {
            name: list(value) if name in ("link", "link_error") else value for name, value in options.items()
        }
        return made

    def set(self, immutable: bool | None = None, **options: Any) -> Self:  # noqa: FBT001 - Celery's order
        """Adds options: those of `apply_async`, and `link` and `link_error`."""
        if immutable is not None:
            self.immutable = immutable
        for link in signatures(options.pop("link", None)):
            self.link(link)
        for errback in signatures(options.pop("link_error", None)):
            self.link_error(errback)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:  # noqa: FBT001 - Celery's
        """Has it take no result, or take one."""
        self.set(immutable=immutable)

    def stamp(
        self,
        visitor: Visitor | None = None,
        append_stamps: bool = False,  # noqa: FBT001, FBT002 - Celery's order
        **stamps: Any,
    ) -> Self:
        """Marks it, and all it consists of and is linked to; each job's `request.stamps` has the marks."""
        stamping.stamp(self, visitor, append=append_stamps, stamps=stamps)
        return self

    def link(self, callback: Signature) -> Signature:
        """Has another called with the result; gives that other one."""
        links = self.options.setdefault("link", [])
        if callback not in links:
            links.append(callback)
        return callback

    def link_error(self, errback: Signature) -> Signature:
        """Has another called if it fails: with request, exception and traceback, or with the id alone."""
        errbacks = self.options.setdefault("link_error", [])
        if errback not in errbacks:
            errbacks.append(errback)
        return errback

    def on_error(self, errback: Signature) -> Self:
        """As `link_error`, giving this one."""
        self.link_error(errback)
        return self

    def freeze(self, _id: str | UUID | None = None) -> AnyResult:
        """Decides its id now; gives the result it will have."""
        self.options["task_id"] = str(_id or self.options.get("task_id") or calls.job_id(None))
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
        if task_settings.current().always_eager and self._runs_here():
            return self.clone(args or (), kwargs, **options)._apply_as_if_sent()
        plan = Plan()
        result = self.lay(plan, args, kwargs, **options)
        plan.enqueue(session)
        return result

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool | None = None,
        **options: Any,
    ) -> Any:
        """Runs it here and now; gives what a task's `apply` does, or of a group a GroupResult."""
        given = {name: value for name, value in options.items() if value is not None}
        return self.clone(args or (), kwargs, **given)._applied(throw=throw)

    def _applied(self, *, throw: bool | None) -> Any:
        if not self._runs_here():
            raise NotRegistered(f"{self.task} runs on workers only: enqueue it with delay()", task=self.task)
        return cast(Any, self.type).apply(self.args, self.kwargs, throw=throw, **self.options)

    def _apply_as_if_sent(self) -> Any:
        return cast(Any, self.type).apply_async(self.args, self.kwargs, **self.options)

    def _runs_here(self) -> bool:
        return hasattr(self.type, "apply")

    def lay(
        self,
        plan: Plan,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AnyResult:
        """Adds its jobs to a plan that is enqueued later."""
        return self.clone(args or (), kwargs, **options).lay_out(plan).result

    def lay_out(self, plan: Plan) -> Laid:
        """Likewise, as it is; gives what it ends in too."""
        if self.kind is not None:
            self.freeze()  # each is told of those that come after it
        return self.laid(plan, Feed(), None)

    def laid(self, plan: Plan, feed: Feed, parent: AnyResult | None, place: Place = NOWHERE) -> Laid:
        """Adds its jobs to the plan: the first ones fed so, and those linked after them."""
        place = self._with_links_in(place)
        job = self._new_job(feed, place)
        plan.add(job)
        result: AsyncResult[Any] = AsyncResult(self.options.get("task_id") or job.id, parent=parent)
        return self._with_links(plan, Laid(ends=job.id, raisers=[job.id], result=result))

    def _with_links_in(self, place: Place) -> Place:
        """The place with those that are linked here, their ids decided."""
        if not self.links and not self.errbacks:
            return place
        for name in ("link", "link_error"):
            self.options[name] = [one.clone() for one in self.options.get(name, ())]
            for one in self.options[name]:
                one.freeze()
        return place.linked(self.links, self.errbacks)

    def _with_links(self, plan: Plan, laid: Laid) -> Laid:
        for link in self.links:
            link.laid(plan, fed_by(laid.ends), laid.result)
        for errback in self.errbacks:
            if laid.raisers:
                since = len(plan.jobs)
                errback.laid(plan, called_by(laid.raisers), laid.result)
                plan.call_for(laid.raisers, since)
        return laid

    def _new_job(self, feed: Feed, place: Place) -> NewJob:
        given = () if self.immutable else feed.given
        args = (*given, *self.args)
        options = {name: value for name, value in self.options.items() if name not in ("link", "link_error")}
        if place is not NOWHERE:
            options["canvas"] = place.told()
        if not feed.edges:
            return self.type.new_job(args, self.kwargs, **cast(Options, options))
        edges = feed.edges
        if self.immutable:
            edges = tuple(replace(edge, passes=False) for edge in edges)
        return self.type.waiting_job(args, self.kwargs, after=edges, options=options)

    def _merged(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.immutable:
            return self.args, dict(self.kwargs)
        return (*args, *self.args), {**self.kwargs, **kwargs}


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
    task: Target | str | Mapping[str, Any],
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    immutable: bool = False,
    **options: Any,
) -> Signature:
    """The signature of a call of this task, or task's name; of a dict that was one; a copy of a signature."""
    if isinstance(task, Mapping):
        made = task if isinstance(task, Signature) else Signature.from_dict(task)
        return made.clone(args or (), kwargs, **options)
    return Signature(task, args, kwargs, options, immutable=immutable)


def maybe_signature(thing: Any) -> Any:
    """The signature itself, or of the dict that was one; None for None."""
    if thing is None or isinstance(thing, Signature):
        return thing
    if isinstance(thing, Mapping) and "task" in thing:
        return Signature.from_dict(thing)
    raise TypeError(f"{thing!r} is no signature: make one with task.s(…)")


def head(result: AnyResult) -> AnyResult:
    """The first of a result and its parents that has no parent."""
    while result.parent is not None:
        result = result.parent
    return result


def signatures_in(given: Iterable[Signature | Iterable[Signature]]) -> list[Signature]:
    """Copies of the signatures: several, or those of one iterable. Raises TypeError for what is none."""
    parts = list(given)
    if len(parts) == 1 and not isinstance(parts[0], Mapping):
        parts = list(parts[0])
    return [maybe_signature(part).clone() for part in parts]


def signatures(links: Any) -> list[Signature]:
    """What was given as `link` or `link_error`: one, or several, or None."""
    found = [] if links is None else [links] if isinstance(links, Mapping) else list(links)
    return [maybe_signature(link) for link in found]
