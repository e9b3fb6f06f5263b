"""A moment in an app's life that functions may be connected to: `on_after_configure`, `on_after_finalize`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Moment:
    """Calls what is connected once it has come; what is connected later, at once."""

    def __init__(self, sender: Any) -> None:
        self._sender = sender
        self._receivers: list[Callable[..., Any]] = []
        self.has_come = False

    def connect(self, receiver: F | None = None, **ignored: Any) -> F | Callable[[F], F]:
        """Has the function called as `receiver(app)`; usable as a decorator, with and without parentheses."""
        if receiver is None:
            return self._connect
        return self._connect(receiver)

    def _connect(self, receiver: F) -> F:
        if self.has_come:
            receiver(self._sender)
        else:
            self._receivers.append(receiver)
        return receiver

    def come(self) -> None:
        """Calls those connected so far; does nothing the second time."""
        if self.has_come:
            return
        self.has_come = True
        for receiver in self._receivers:
            receiver(self._sender)
