"""Celery's `Task.replace` and `add_to_chord`: what works here and now, and what to do in a job."""

from __future__ import annotations

from typing import Any

from outsourced.canvas import Signature
from outsourced.context import current_call


class Replacing:
    """The two methods of a task."""

    def replace(self, sig: Signature) -> Any:
        """Runs another call in place of this one, where this one runs eagerly: return what it gives.

        Raises RuntimeError in a job, which is one call of one task from its beginning to its end.
        """
        call = current_call()
        if call is not None and call.request.is_eager:
            return sig.apply().get(disable_sync_subtasks=False)
        raise RuntimeError(
            "a job is not replaced by another: enqueue a chain of this call and the next, "
            f"or have the task call {sig.task} itself"
        )

    def add_to_chord(self, sig: Signature, *, lazy: bool = False) -> Any:
        """Raises RuntimeError: what a chord waits for is settled when it is enqueued."""
        raise RuntimeError(
            f"a chord waits for what it was enqueued with, {sig.task} comes too late: "
            "enqueue another chord from the task that knows its members"
        )
