"""Celery's `task.request`: how the call of a task came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outsourced.results import AsyncResult


@dataclass(kw_only=True)
class Request:
    """How this call came about. The defaults are those of a direct call.

    A header that the producer sent is an attribute too, where no other has its name.
    """

    id: str | None = None
    task: str | None = None
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    retries: int = 0
    eta: str | None = None  #: ISO 8601
    expires: str | None = None
    hostname: str | None = None
    called_directly: bool = True
    is_eager: bool = False
    delivery_info: Mapping[str, Any] | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    origin: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    headers: Mapping[str, Any] | None = None
    time_limit: float | None = None  #: seconds
    soft_time_limit: float | None = None
    ignore_result: bool = False
    shadow: str | None = None
    group: str | None = None
    group_index: int | None = None
    chord: Any = None
    chain: Any = None
    callbacks: Any = None
    errbacks: Any = None
    properties: Mapping[str, Any] | None = None
    stamped_headers: Sequence[str] | None = None
    stamps: Mapping[str, Any] | None = None
    logfile: str | None = None
    loglevel: int | None = None
    children: list[AsyncResult[Any]] = field(default_factory=list)  #: what it has enqueued so far

    @property
    def name(self) -> str | None:
        """The task's name, as receivers of `task_received` read it."""
        return self.task

    @property
    def timelimit(self) -> tuple[float | None, float | None]:
        """The limit and the soft limit, in seconds."""
        return self.time_limit, self.soft_time_limit

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute of this name, or the default."""
        return getattr(self, name, default)

    def __getattr__(self, name: str) -> Any:
        headers = self.__dict__.get("headers") or {}
        if name in headers:
            return headers[name]
        raise AttributeError(f"the request of a task has no {name!r}, nor a header of that name")
