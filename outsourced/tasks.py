"""Tasks: functions that can be called here, or enqueued to run elsewhere.

`@task` makes a class of its own for each function, a subclass of `Task` or of the `base` it is given, as
Celery does: an option is an attribute of that class, and a hook or a default of the base holds for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    NoReturn,
    ParamSpec,
    TypeVar,
    Unpack,
    overload,
)

from outsourced import clock, conf, eager, retrying, task_settings
from outsourced.calls import Options
from outsourced.celery_states import FAILURE
from outsourced.context import Call, current_call
from outsourced.dates import When, duration
from outsourced.decorator import Exceptions
from outsourced.errors import MaxRetriesExceeded
from outsourced.exceptions import Retry
from outsourced.hooks import Hooks
from outsourced.progress import failure_told
from outsourced.pydantic_models import Models
from outsourced.remotes import Callbacks, RemoteTask
from outsourced.replacing import Replacing
from outsourced.request import Request
from outsourced.results import AsyncResult
from outsourced.retry import RetryPolicy

if TYPE_CHECKING:
    from outsourced.app.base import Celery

P = ParamSpec("P")
R = TypeVar("R")


class Task(Hooks, Replacing, RemoteTask[P, R]):
    """A function that can be called here, or enqueued to run elsewhere.

    Made by `@task`. A subclass with hooks or with options as attributes is what `base=` takes; one that
    defines `run` is a task itself: `register(MyTask())`.
    """

    __name__: str
    __qualname__: str
    MaxRetriesExceededError: ClassVar[type[MaxRetriesExceeded]] = MaxRetriesExceeded

    app: Celery  #: of which it is a task; only where there is an app of Celery's shape
    _made_of: tuple[Callable[..., Any], bool, Mapping[str, Any]]

    name: str = ""
    queue: str | None = None  #: None: the default queue
    priority: int | None = None
    expires: When | None = None
    max_retries: int | None = 3
    default_retry_delay: float | timedelta = 180
    autoretry_for: Exceptions = ()
    dont_autoretry_for: Exceptions = ()
    retry_kwargs: Mapping[str, Any] = {}
    retry_backoff: bool | float = False
    retry_backoff_max: float = 600
    retry_jitter: bool = True
    max_losses: int = 3
    acks_late: bool = True
    throws: Exceptions = ()
    typing: bool = True  #: check arguments where the job is enqueued
    time_limit: float | None = None  #: seconds, as the next
    soft_time_limit: float | None = None
    rate_limit: str | float | None = None  #: 10/m or a number a second, on all workers together
    pydantic: bool = False
    pydantic_strict: bool = True
    pydantic_context: Mapping[str, Any] | None = None
    pydantic_dump_kwargs: Mapping[str, Any] | None = None

    # Celery's, which mean nothing here: a job whose worker is lost is always given to another, its start
    # and its errors are always kept, and there are no events but the history
    reject_on_worker_lost: bool | None = None
    acks_on_failure_or_timeout: bool = True
    store_errors_even_if_ignored: bool = True
    track_started: bool = True
    serializer: str | None = None
    send_events: bool = True
    trail: bool = True

    def __init__(self) -> None:
        """A subclass may make what its calls share; it need not call this."""

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The function."""
        raise NotImplementedError(f"{type(self).__name__} defines no run()")

    @property
    def ignore_result(self) -> bool:
        """Whether what it returns is dropped; where it does not say, as the app's `task_ignore_result`."""
        return bool(conf.in_force()["task_ignore_result"])

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """Seconds: its time limit and the soft one; where it has none, as the app's `task_time_limit`."""
        hard, soft = self.time_limit, self.soft_time_limit
        if hard is not None and soft is not None:
            return hard, soft
        settings = conf.in_force()
        return (
            settings["task_time_limit"] if hard is None else hard,
            settings["task_soft_time_limit"] if soft is None else soft,
        )

    @property
    def function(self) -> Callable[..., Any]:
        """The function as it was written."""
        written: Callable[..., Any] = inspect.unwrap(getattr(self.run, "__func__", self.run))
        return written

    @property
    def retry_policy(self) -> RetryPolicy:
        """Which exceptions are tried again, how often, and when."""
        return RetryPolicy(
            max_retries=self.max_retries,
            delay=duration("default_retry_delay", self.default_retry_delay),
            autoretry_for=exception_classes(self.autoretry_for),
            dont_autoretry_for=exception_classes(self.dont_autoretry_for),
            backoff=float(self.retry_backoff),
            backoff_max=self.retry_backoff_max,
            jitter=self.retry_jitter,
        )

    @property
    def request(self) -> Request:
        """How the call that runs here came about; a blank one where none does."""
        call = current_call(self)
        return Request() if call is None else call.request

    @cached_property
    def has_own_call(self) -> bool:
        """Whether its class defines `__call__`, which then is what a worker calls."""
        return type(self).__call__ is not Task.__call__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function here and now."""
        call = current_call()
        if call is not None and call.enter(self):
            result: R = self.run(*args, **kwargs)
            return result
        inline = Call(self, args, kwargs)
        with inline.here():
            inline.enter(self)
            return self.run(*args, **kwargs)  # type: ignore[no-any-return]

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
        if not task_settings.current().always_eager:
            return super().apply_async(
                args, kwargs, session=session, link=link, link_error=link_error, **options
            )
        links = eager.Links.of(link, link_error)
        return eager.apply_as_if_sent(self, self.new_job(args, kwargs, **options), options, links)

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool | None = None,
        retries: int = 0,
        link: Callbacks = None,
        link_error: Callbacks = None,
        **options: Unpack[Options],
    ) -> eager.EagerResult[R]:
        """Runs the task here and now as a worker would: hooks, signals and retries, without the waiting.

        What it raises is in the result, or with `throw` raised: by default what
        OUTSOURCED_TASK_EAGER_PROPAGATES says. As in Celery, what is in `link` is enqueued.
        """
        if throw is None:
            throw = task_settings.current().eager_propagates
        links = eager.Links.of(link, link_error)
        request = eager.request_of(self, args or (), kwargs or {}, options, links)
        request.retries = retries
        return eager.apply(self, request, throw=throw)

    @overload
    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: Literal[True] = True,  # noqa: FBT002 - Celery's order
        eta: datetime | None = None,
        countdown: float | timedelta | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> NoReturn: ...
    @overload
    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        *,
        throw: Literal[False],
        eta: datetime | None = None,
        countdown: float | timedelta | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry: ...
    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        eta: datetime | None = None,
        countdown: float | timedelta | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Has this job tried again later; raises Retry, so what follows does not run.

        With no try left raises `exc`, or else MaxRetriesExceeded. Called directly, where nobody tries
        again, raises `exc`. With `throw=False` the task goes on, and is tried again when it returns.
        `args` and `kwargs` are those of the next try; so may be some `options`: TypeError names the others.
        """
        call = current_call(self)
        if call is None or call.request.called_directly:
            retrying.raise_with_context(exc or Retry("the task can be tried again"))
        budget = call.max_retries if max_retries is None else max_retries
        if budget is not None and call.retries >= budget:
            call.exhausted = True
            retrying.raise_with_context(
                exc or MaxRetriesExceeded(f"{self.name}[{call.id}] has used up its {budget} retries")
            )
        again = retrying.again(call, args, kwargs)
        wish = retrying.wish(
            exc,
            delay=self._retry_delay(countdown, eta),
            max_retries=max_retries,
            when=eta or countdown,
            again=again,
            changes=retrying.changes(call, again, options),
        )
        if throw:
            raise wish
        call.wish = wish
        return wish

    def _retry_delay(self, countdown: float | timedelta | None, eta: datetime | None) -> timedelta:
        if eta is not None:
            return max(timedelta(0), clock.as_utc(task_settings.localized(eta)) - clock.now())
        if countdown is not None:
            return max(timedelta(0), duration("countdown", countdown))
        return self.retry_policy.delay

    def update_state(self, task_id: str | None = None, state: str | None = None, meta: Any = None) -> None:
        """Has this job show a state of its own with `meta`, within a second, until it ends or is tried again.

        Called often, only the last counts. Outside of a job nothing happens. FAILURE is what the job fails
        with if the task then raises Ignore: `meta` is an exception, or what Celery keeps of one. Raises
        ValueError for another task's id and for other states in which jobs end, PayloadError for what is
        too large.
        """
        call = current_call(self)
        if task_id is not None and (call is None or str(task_id) != call.id):
            raise ValueError(f"a task can tell of its own job only, not of {task_id}")
        if call is None or call.lease is None or call.job is None:
            return
        if state == FAILURE:
            call.told_failure = failure_told(meta)
        else:
            call.job.tell(state, meta)

    def AsyncResult(self, task_id: str) -> AsyncResult[R]:  # noqa: N802 - Celery's name
        """The result of a job of this task."""
        return AsyncResult(task_id)

    def shadow_name(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> str | None:
        """A name to show for such a call in logs; None: the task's own."""

    def job_defaults(self) -> Options:
        return {
            "queue": self.queue,
            "priority": self.priority,
            "expires": self.expires,
            "max_retries": self.max_retries,
            # not acknowledged late: never run again once it has begun
            "max_losses": self.max_losses if self.acks_late else 0,
        }

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if not self.typing:
            return
        try:
            self.parameters.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}(): {error}") from None

    @cached_property
    def parameters(self) -> inspect.Signature:
        """What the function takes, `self` not counted."""
        return inspect.signature(self.run)

    def dumped(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        return Models(self).dump(args, kwargs) if self.pydantic else (args, kwargs)


def exception_classes(exceptions: Exceptions) -> tuple[type[BaseException], ...]:
    """The classes as a tuple."""
    return (exceptions,) if isinstance(exceptions, type) else tuple(exceptions)
