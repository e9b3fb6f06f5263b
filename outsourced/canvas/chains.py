"""Calls one after another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, cast
from uuid import UUID

from outsourced import celery_states
from outsourced.canvas.place import NOWHERE, Place
from outsourced.canvas.plan import AnyResult, Feed, Laid, Plan, fed_by
from outsourced.canvas.signature import Signature, head, signatures_in

#: options that are of what the whole ends in
OF_LAST = ("task_id", "add_to_chord", "canvas")


class chain(Signature):  # noqa: N801 - Celery's name
    """Calls one after another, each with the result of the one before."""

    kind = "chain"

    def __init__(self, *tasks: Signature | Iterable[Signature], **options: Any) -> None:
        """Signatures, or one iterable of them. Options: of the first; id, `add_to_chord`: of the last."""
        parts: list[Signature] = []
        for task in signatures_in(tasks):
            plain = type(task) is chain and not (task.links or task.errbacks)
            parts += task.tasks if plain else [task]  # type: ignore[attr-defined]
        super().__init__("outsourced.chain", (), {"tasks": parts})
        self.set(**options)

    @classmethod
    def _restored(cls, made: Mapping[str, Any]) -> Signature:
        return cls(made["kwargs"]["tasks"])

    @property
    def id(self) -> str | None:
        """The last one's."""
        return self.tasks[-1].id if self.tasks else None

    @property
    def tasks(self) -> list[Signature]:
        """The calls, in their order."""
        return cast(list[Signature], self.kwargs["tasks"])

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.tasks))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Enqueues it, as `delay` does."""
        return self.apply_async(args, kwargs)

    def clone(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """A copy, with these arguments before the first one's own."""
        made = self._copied()
        tasks = [task.clone() for task in self.tasks]
        if tasks:
            tasks[0] = tasks[0].clone(args, kwargs)
        made.kwargs = {"tasks": tasks}
        return made.set(**options)

    def set(self, immutable: bool | None = None, **options: Any) -> Self:  # noqa: FBT001 - Celery's order
        links = {name: options.pop(name) for name in ("link", "link_error") if name in options}
        super().set(**links)
        if self.tasks:
            of_last = {name: options.pop(name) for name in OF_LAST if name in options}
            self.tasks[-1].set(**of_last)
            self.tasks[0].set(immutable, **options)
        return self

    def freeze(self, _id: str | UUID | None = None) -> AnyResult:
        result: AnyResult | None = None
        for task in self._steps():
            frozen = task.freeze(_id if task is self.tasks[-1] else None)
            head(frozen).parent = result
            result = frozen
        assert result is not None
        return result

    def _steps(self) -> list[Signature]:
        """The calls but for groups of nothing, as Celery has it; raises ValueError where there is none."""
        if not self.tasks:
            raise ValueError("this chain is empty")
        return [task for task in self.tasks if not task.is_nothing()] or self.tasks[-1:]

    def is_nothing(self) -> bool:
        return bool(self.tasks) and all(task.is_nothing() for task in self.tasks)

    def _runs_here(self) -> bool:
        return True

    def _applied(self, *, throw: bool | None) -> Any:
        steps, last = self._steps(), None
        for link in self.links:
            steps[-1].link(link)
        for task in steps:
            # not `self.errbacks` of the whole: as in Celery, each one's own
            for errback in self.errbacks:
                task.link_error(errback)
            args = () if last is None else (last.get(disable_sync_subtasks=False),)
            result = task.apply(args, throw=throw)
            head(result).parent = last
            last = result
            if getattr(result, "state", None) in (celery_states.IGNORED, celery_states.REJECTED):
                break
        return last

    def _apply_as_if_sent(self) -> Any:
        return self._applied(throw=None)

    def laid(self, plan: Plan, feed: Feed, parent: AnyResult | None, place: Place = NOWHERE) -> Laid:
        raisers: list[UUID] = []
        steps = self._steps()
        places = place.of_chain(steps, self._with_links_in(NOWHERE))
        for task, its in zip(steps, places, strict=True):
            laid = task.laid(plan, feed, parent, its)
            feed, parent = fed_by(laid.ends, before=feed), laid.result
            # what comes after several jobs fails with a ChordError when one of them does: one error, not two
            several = isinstance(laid.ends, list) and task is not steps[-1]
            raisers += [] if several else laid.raisers
        return self._with_links(plan, laid._replace(raisers=raisers))
