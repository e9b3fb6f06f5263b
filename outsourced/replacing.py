"""Celery's `Task.replace`, another call in place of this one, and `add_to_chord`, another one beside it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from outsourced.canvas.plan import Plan, fed_by
from outsourced.canvas.signature import Signature, maybe_signature
from outsourced.context import current_call
from outsourced.errors import ConfigurationError
from outsourced.exceptions import Replaced
from outsourced.following import ACCUMULATE
from outsourced.records import Lease


class Replacing:
    """The methods of a task."""

    def replace(self, sig: Signature) -> Any:
        """Ends this call, and has another, which may be a canvas, take its place: `return self.replace(sig)`.

        The job waits for it, and ends as it does: with its result, of a group with the list of them, or with
        its error. What waits for the job goes on waiting. Run eagerly, gives the other's result.

        Raises Ignore, always, in a job; ConfigurationError for an empty chain; what `apply_async` raises; and
        RuntimeError in a call that is neither a job nor eager.
        """
        made = maybe_signature(sig).clone()
        if made.kind == "chain" and not made.tasks:
            raise ConfigurationError("a task cannot be replaced by an empty chain")
        return self.on_replace(made)

    def on_replace(self, sig: Signature) -> Any:
        """Called by `replace`, to be overridden: gives what the task is to return, by way of this one."""
        call = current_call()
        if call is not None and call.request.is_eager:
            return sig.apply().get(disable_sync_subtasks=False)
        if call is None or call.lease is None:
            raise RuntimeError(
                f"nothing is there to be replaced by {sig.task}: this is a call inside a program or a task, "
                "not a job of its own. Call the other task in its stead"
            )
        raise Replaced(_enqueued(sig, call.lease))

    def add_to_chord(self, sig: Signature, *, lazy: bool = False) -> Any:
        """Has the body of the chord that this task is in wait for another call too, and be given its result.

        Last in the list. Enqueues the call, which may be a canvas, and gives its result; `lazy`: gives it as
        a signature, to be enqueued by this task. Raises ValueError where the task is in no chord.
        """
        call = current_call()
        if call is None or call.lease is None or not call.request.chord:
            raise ValueError("Current task is not member of any chord")
        place = {name: getattr(call.request, name) for name in ("group", "chord")}
        made = maybe_signature(sig).clone().set(add_to_chord=True, canvas=place)
        return made if lazy else made.apply_async()


def _enqueued(sig: Signature, lease: Lease) -> UUID:
    """The one job that has the result of all of it."""
    plan = Plan()
    ends = sig.lay_out(plan).ends
    if not isinstance(ends, UUID):
        collected = Signature(ACCUMULATE, options={"queue": lease.queue}).laid(plan, fed_by(ends), None)
        assert isinstance(collected.ends, UUID)
        ends = collected.ends
    plan.keep_result_of(ends)
    plan.enqueue()
    return ends
