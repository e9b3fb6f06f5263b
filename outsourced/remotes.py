"""Tasks by their names alone, and every way to enqueue a call of one.

A task only builds NewJobs and hands them to the backend in force; it has no other I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, cast

from outsourced import backend, publishing
from outsourced.calls import Options, new_job
from outsourced.canvas import Signature, chunks, xmap, xstarmap
from outsourced.context import current_call
from outsourced.errors import NotRegistered
from outsourced.records import Edge, EdgeKind, NewJob
from outsourced.results import AsyncResult

P = ParamSpec("P")
R = TypeVar("R")

#: what `link` and `link_error` take
Callbacks = Signature | Sequence[Signature] | None


class RemoteTask(Generic[P, R]):
    """A task by its name alone: its code is on the workers only."""

    name: str
    #: the options of its jobs, where a call has none of its own
    defaults: Options | None = None

    def __init__(self, name: str, defaults: Options | None = None) -> None:
        self.name = name
        self.defaults = defaults

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        raise NotRegistered(f"{self.name} runs on workers only: enqueue it with delay()", task=self.name)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Enqueues a call with these arguments."""
        return self.apply_async(args, kwargs)

    def delay_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Enqueues a call that exists if, and only if, the transaction of the app's `db.session` commits."""
        return self.apply_async(args, kwargs, session=backend.HOST_SESSION)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        session: Any = None,
        link: Callbacks = None,
        link_error: Callbacks = None,
        **options: Unpack[Options],
    ) -> AsyncResult[R]:
        """Enqueues a call, with options of this job's own.

        `link`: signatures to call with the result; `link_error`: those to call if it fails.

        With `session`, a SQLAlchemy session on the database of the jobs, the job is part of its
        transaction: nobody sees it before the commit, and a rollback undoes it. A bounded queue may then
        turn out to be full at the commit, which raises QueueFull.

        Raises TypeError for arguments the function does not take, PayloadError for what JSON cannot
        carry, QueueFull, UnknownQueue.
        """
        if link or link_error:
            made = self.signature(args, kwargs, **options).set(link=link, link_error=link_error)
            return cast(AsyncResult[R], made.apply_async(session=session))
        job = self.new_job(args, kwargs, **options)
        backend.current().enqueue([job], session=session)
        publishing.tell([job])
        result: AsyncResult[R] = AsyncResult(options.get("task_id") or job.id)
        call = current_call()
        if call is not None and options.get("add_to_parent", True):
            call.request.children.append(result)
        return result

    def new_job(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> NewJob:
        """The job that `apply_async` would enqueue."""
        args, kwargs = args if args is not None else (), kwargs if kwargs is not None else {}
        if not isinstance(args, list | tuple) or not isinstance(kwargs, Mapping):
            raise TypeError("the arguments of a task are a list or tuple, and a mapping")
        self.check(args, kwargs)
        args, kwargs = self.dumped(args, kwargs)
        options = publishing.announce(self.name, args, kwargs, options)
        return new_job(self.name, args, kwargs, options=options, defaults=self.job_defaults())

    def waiting_job(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        after: tuple[Edge, ...],
        options: Mapping[str, Any],
    ) -> NewJob:
        """The job of a call that waits for others, whose results come before its arguments."""
        passing = {edge.kind for edge in after if edge.passes}
        if EdgeKind.ERROR not in passing:  # what an errback is given depends on what it takes
            self.check((None, *args) if passing else args, kwargs)
        args, kwargs = self.dumped(args, kwargs)
        announced = publishing.announce(self.name, args, kwargs, cast(Options, options))
        job = new_job(self.name, args, kwargs, options=announced, defaults=self.job_defaults())
        return replace(job, after=after)

    def signature(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        **options: Unpack[Options],
    ) -> Signature:
        """A call not yet made, with options of its own."""
        return Signature(self, args, kwargs, options, immutable=immutable)

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """A call not yet made; what comes before it in a chain gives its first argument."""
        return Signature(self, args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """A call not yet made that takes no result of others."""
        return Signature(self, args, kwargs, immutable=True)

    def map(self, it: Iterable[Any]) -> Signature:
        """One job for a call with each of these; its result is a list."""
        return xmap(self.s(), it)

    def starmap(self, it: Iterable[Any]) -> Signature:
        """One job for a call with each of these as arguments."""
        return xstarmap(self.s(), it)

    def chunks(self, it: Iterable[Any], n: int) -> chunks:
        """A group of jobs, each for calls with the next `n` of these as arguments."""
        return chunks(self.s(), it, n)

    def job_defaults(self) -> Options | None:
        """The options of its jobs, where a call has none of its own."""
        return self.defaults

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raises TypeError for arguments the function does not take; here it is not known."""

    def dumped(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments in a form that travels; these do as they are."""
        return args, kwargs


def remote(name: str, **options: Unpack[Options]) -> RemoteTask[..., Any]:
    """A task whose code exists on the workers only; the options hold for all its jobs."""
    return RemoteTask(name, options)
