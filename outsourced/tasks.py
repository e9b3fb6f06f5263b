"""Tasks: functions that run elsewhere, and every way to enqueue a call of one.

A task only builds NewJobs and hands them to the backend in force; it has no other I/O.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    NoReturn,
    ParamSpec,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    overload,
)
from weakref import WeakSet

from outsourced import backend, clock, conf
from outsourced.calls import Options, new_job
from outsourced.canvas import Signature, chunks, xmap, xstarmap
from outsourced.context import Call, Request, current_call
from outsourced.dates import duration
from outsourced.errors import MaxRetriesExceeded, NotRegistered
from outsourced.exceptions import Retry
from outsourced.records import Edge, EdgeKind, NewJob
from outsourced.registry import default_name, registry
from outsourced.results import AsyncResult
from outsourced.retry import RetryPolicy

if TYPE_CHECKING:
    from outsourced.app.base import Celery

P = ParamSpec("P")
R = TypeVar("R")

#: exception classes, as `except` takes them
Exceptions = type[BaseException] | tuple[type[BaseException], ...] | list[type[BaseException]]

#: what `link` and `link_error` take
Callbacks = Signature | Sequence[Signature] | None


class TaskOptions(TypedDict, total=False):
    """What `@task` takes beside `bind`; the defaults are in `Task.__init__`."""

    name: str | None
    queue: str | None
    priority: int
    max_retries: int | None
    default_retry_delay: float | timedelta
    autoretry_for: Exceptions
    dont_autoretry_for: Exceptions
    retry_backoff: bool | float
    retry_backoff_max: float
    retry_jitter: bool
    max_losses: int
    acks_late: bool
    throws: Exceptions
    ignore_result: bool | None
    base: type[Task[..., Any]] | None


class RemoteTask(Generic[P, R]):
    """A task by its name alone: its code is on the workers only."""

    def __init__(self, name: str, defaults: Options | None = None) -> None:
        self.name = name
        self._defaults: Options = defaults if defaults is not None else {}

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
        return AsyncResult(options.get("task_id") or job.id)

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
        self._check(args, kwargs)
        return new_job(self.name, args, kwargs, options=options, defaults=self._defaults)

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
            self._check((None, *args) if passing else args, kwargs)
        job = new_job(self.name, args, kwargs, options=cast(Options, options), defaults=self._defaults)
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

    def _check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raises TypeError for arguments the function does not take; here it is not known."""


class Task(RemoteTask[P, R]):
    """A function that can be called here, or enqueued to run elsewhere.

    A subclass given as `base` may override `__call__`, through which workers go too, and say by class
    attributes what `@task` takes as options.
    """

    __name__: str
    __qualname__: str
    app: Celery  #: of which it is a task; only where there is an app of Celery's shape

    def __init__(
        self,
        function: Callable[..., R],
        *,
        bind: bool = False,
        name: str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        max_retries: int | None = 3,
        default_retry_delay: float | timedelta = 180,
        autoretry_for: Exceptions = (),
        dont_autoretry_for: Exceptions = (),
        retry_backoff: bool | float = False,
        retry_backoff_max: float = 600,
        retry_jitter: bool = True,
        max_losses: int = 3,
        acks_late: bool = True,
        throws: Exceptions = (),
        ignore_result: bool | None = None,
    ) -> None:
        if not inspect.isroutine(inspect.unwrap(function)):
            raise TypeError(
                f"a task is made of a function, not of {function!r}; options go by name: @task(name=…)"
            )
        if inspect.iscoroutinefunction(function):
            raise TypeError(
                f"{function.__qualname__} is async: write a plain function that calls asyncio.run"
            )
        functools.update_wrapper(self, function)
        super().__init__(
            name or default_name(function),
            {
                "queue": queue,
                "priority": priority,
                "max_retries": max_retries,
                # not acknowledged late: never run again once it has begun
                "max_losses": max_losses if acks_late else 0,
            },
        )
        self.function = function
        self._given: Mapping[str, Any] = {}
        self.run: Callable[..., R] = MethodType(function, self) if bind else function
        self.retry_policy = RetryPolicy(
            max_retries=max_retries,
            delay=duration("default_retry_delay", default_retry_delay),
            autoretry_for=_classes(autoretry_for),
            dont_autoretry_for=_classes(dont_autoretry_for),
            backoff=float(retry_backoff),
            backoff_max=retry_backoff_max,
            jitter=retry_jitter,
        )
        self.throws = _classes(throws)
        self._ignore_result = ignore_result
        self._signature = inspect.signature(self.run)

    @property
    def parameters(self) -> inspect.Signature:
        """What the function takes."""
        return self._signature

    @property
    def queue(self) -> str | None:
        """The queue its jobs go to; None: the default queue."""
        return self._defaults.get("queue")

    @property
    def ignore_result(self) -> bool:
        """Whether what it returns is dropped; where it does not say, as the app's `task_ignore_result`."""
        return conf.in_force()["task_ignore_result"] if self._ignore_result is None else self._ignore_result

    @property
    def max_retries(self) -> int | None:
        return self.retry_policy.max_retries

    @property
    def default_retry_delay(self) -> float:
        """Seconds."""
        return self.retry_policy.delay.total_seconds()

    @property
    def request(self) -> Request:
        """How the call that runs here came about; a blank one where none does."""
        call = current_call(self)
        return Request() if call is None else call.request

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function here and now."""
        call = current_call()
        if call is not None and call.task is self and call.enters():
            return self.run(*args, **kwargs)
        result: R = Call(self, args, kwargs).run()
        return result

    @overload
    def retry(
        self,
        *,
        exc: BaseException | None = None,
        countdown: float | timedelta | None = None,
        eta: datetime | None = None,
        max_retries: int | None = None,
        throw: Literal[True] = True,
    ) -> NoReturn: ...
    @overload
    def retry(
        self,
        *,
        exc: BaseException | None = None,
        countdown: float | timedelta | None = None,
        eta: datetime | None = None,
        max_retries: int | None = None,
        throw: Literal[False],
    ) -> Retry: ...
    def retry(
        self,
        *,
        exc: BaseException | None = None,
        countdown: float | timedelta | None = None,
        eta: datetime | None = None,
        max_retries: int | None = None,
        throw: bool = True,
    ) -> Retry:
        """Has this job tried again later; raises Retry, so what follows does not run.

        With no try left raises `exc`, or else MaxRetriesExceeded. Called directly, where nobody tries
        again, raises `exc`. With `throw=False` the task goes on, and is tried again when it returns.
        """
        call = current_call(self)
        lease = call.lease if call is not None else None
        if call is None or lease is None:
            _raise_with_context(exc or Retry("the task can be tried again"))
        budget = lease.max_retries if max_retries is None else max_retries
        if budget is not None and lease.failures >= budget:
            call.exhausted = True
            _raise_with_context(
                exc or MaxRetriesExceeded(f"{self.name}[{lease.job_id}] has used up its {budget} retries")
            )
        delay = self._retry_delay(countdown, eta)
        wish = Retry(
            f"to be tried again in {delay.total_seconds():g} s", exc=exc, delay=delay, max_retries=max_retries
        )
        if throw:
            raise wish
        call.wish = wish
        return wish

    def _retry_delay(self, countdown: float | timedelta | None, eta: datetime | None) -> timedelta:
        if eta is not None:
            return max(timedelta(0), clock.as_utc(eta) - clock.now())
        if countdown is not None:
            return max(timedelta(0), duration("countdown", countdown))
        return self.retry_policy.delay

    def _check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}(): {error}") from None


def _raise_with_context(error: BaseException) -> NoReturn:
    handled = sys.exc_info()[1]
    if handled is None or handled is error:
        raise error
    raise error from handled


def _classes(exceptions: Exceptions) -> tuple[type[BaseException], ...]:
    return (exceptions,) if isinstance(exceptions, type) else tuple(exceptions)


#: the class of tasks that name no `base`: `Task`, or that of the current app
_shared_class: type[Task[..., Any]] = Task
_shared: WeakSet[Task[..., Any]] = WeakSet()


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *, bind: Literal[True], **options: Unpack[TaskOptions]
) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...
@overload
def task(
    *, bind: Literal[False] = False, **options: Unpack[TaskOptions]
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(function: Callable[..., Any] | None = None, /, *, bind: bool = False, **options: Any) -> Any:
    """Makes a function a task and registers it; with `bind=True` it gets the task as first argument.

    Raises TypeError for an unknown option, TaskAlreadyRegistered for a name that is taken.
    """

    def decorate(function: Callable[..., R]) -> Task[..., R]:
        base = options.get("base")
        made: Task[..., R] = make(function, base=base or _shared_class, options={**options, "bind": bind})
        if base is None:
            _shared.add(made)
        return made

    require_known(options)
    return decorate if function is None else decorate(function)


def make(
    function: Callable[..., R], *, base: type[Task[..., Any]], options: Mapping[str, Any]
) -> Task[..., R]:
    """A task of this class, registered; raises likewise."""
    require_known(options)
    given = {name: value for name, value in options.items() if name != "base"}
    made: Task[..., R] = base(function, **(_attributes(base) | given))
    made._given = given
    registry.add(made)
    return made


def adopt(task: Task[..., Any], base: type[Task[..., Any]]) -> None:
    """Makes a task one of this class, where it stands: whoever holds it holds the same."""
    task.__class__ = base
    Task.__init__(task, task.function, **{"name": task.name, **_attributes(base), **task._given})


def share(base: type[Task[..., Any]]) -> None:
    """Makes this the class of all tasks, present ones too, that name no `base` and belong to no app."""
    global _shared_class
    _shared_class = base
    for task in list(_shared):
        adopt(task, base)


def require_known(options: Mapping[str, Any]) -> None:
    """Raises TypeError that names what is no option of `@task`."""
    unknown = options.keys() - TaskOptions.__annotations__.keys() - {"bind"}
    if unknown:
        known = ", ".join(sorted(("bind", *TaskOptions.__annotations__)))
        raise TypeError(f"@task has no option {', '.join(map(repr, sorted(unknown)))} (options: {known})")


def _attributes(base: type[Task[..., Any]]) -> dict[str, Any]:
    """The options that a base class, or one between it and `Task`, states as class attributes."""
    lines = [vars(one) for one in reversed(base.__mro__) if issubclass(one, Task) and one is not Task]
    return {name: line[name] for line in lines for name in TaskOptions.__annotations__ if name in line}


def remote(name: str, **options: Unpack[Options]) -> RemoteTask[..., Any]:
    """A task whose code exists on the workers only; the options hold for all its jobs."""
    return RemoteTask(name, options)


shared_task = task
