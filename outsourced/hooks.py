"""The hooks of a task: methods a subclass may define, with Celery's arguments.

They run in the worker, around the function. One that raises after the task has ended is logged, and
changes nothing about how it ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outsourced.einfo import ExceptionInfo


class Hooks:
    """The hooks, doing nothing."""

    def before_start(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], /) -> None:
        """Called before the function; what it raises fails the task."""

    def on_success(
        self, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], /
    ) -> None:
        """Called when the function has returned."""

    def on_retry(
        self,
        exc: BaseException | None,
        task_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        einfo: ExceptionInfo,
        /,
    ) -> None:
        """Called when the task is to be tried again."""

    def on_failure(
        self,
        exc: BaseException,
        task_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        einfo: ExceptionInfo,
        /,
    ) -> None:
        """Called when the task has failed for good."""

    def after_return(
        self,
        status: str,
        retval: Any,
        task_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        einfo: ExceptionInfo | None,
        /,
    ) -> None:
        """Called last, when the task has succeeded or failed for good; `retval` may be the exception."""
