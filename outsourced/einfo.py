"""What went wrong, as hooks and signals get it."""

from __future__ import annotations

import traceback
from types import TracebackType


class ExceptionInfo:
    """An exception with its traceback as text; `str` of it is that text."""

    def __init__(self, exception: BaseException) -> None:
        self.exception = exception
        self.type = type(exception)
        self.tb = exception.__traceback__
        self.internal = False
        self.traceback = "".join(traceback.format_exception(exception))

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None]:
        return self.type, self.exception, self.tb

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"
