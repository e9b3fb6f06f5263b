"""`@task` as type checkers see it: its options, and that a task keeps the signature of its function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from outsourced.dates import When

if TYPE_CHECKING:
    from outsourced.tasks import Task

P = ParamSpec("P")
R = TypeVar("R")

#: exception classes, as `except` takes them
Exceptions = type[BaseException] | tuple[type[BaseException], ...] | list[type[BaseException]]


class TaskOptions(TypedDict, total=False):
    """What `@task` takes beside `bind` and `base`: attributes of `Task`, where the defaults are."""

    name: str | None
    queue: str | None
    priority: int | None
    expires: When | None
    max_retries: int | None
    default_retry_delay: float | timedelta
    autoretry_for: Exceptions
    dont_autoretry_for: Exceptions
    retry_kwargs: Mapping[str, Any]
    retry_backoff: bool | float
    retry_backoff_max: float
    retry_jitter: bool
    max_losses: int
    acks_late: bool
    reject_on_worker_lost: bool | None
    acks_on_failure_or_timeout: bool
    throws: Exceptions
    ignore_result: bool | None
    store_errors_even_if_ignored: bool
    track_started: bool
    typing: bool
    time_limit: float | None
    soft_time_limit: float | None
    rate_limit: str | float | None
    serializer: str | None
    send_events: bool
    trail: bool
    pydantic: bool
    pydantic_strict: bool
    pydantic_context: Mapping[str, Any] | None
    pydantic_dump_kwargs: Mapping[str, Any] | None


class TaskDecorator(Protocol):
    """`@task`, with and without parentheses; with a `base`, attributes of that class are options too."""

    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def __call__(
        self, *, bind: Literal[True], **options: Unpack[TaskOptions]
    ) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...
    @overload
    def __call__(
        self, *, bind: Literal[False] = False, **options: Unpack[TaskOptions]
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    @overload
    def __call__(
        self, *, base: type[Task[..., Any]], bind: Literal[True], **options: Any
    ) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...
    @overload
    def __call__(
        self, *, base: type[Task[..., Any]], bind: Literal[False] = False, **options: Any
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def typed(function: Callable[..., Any]) -> TaskDecorator:
    """The function itself, to type checkers a TaskDecorator."""
    return cast(TaskDecorator, function)
