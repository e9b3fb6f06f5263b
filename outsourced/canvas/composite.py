"""Calls side by side: a `group`, and a `chord`, which calls one more with the results of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, cast
from uuid import UUID

from outsourced import calls
from outsourced.canvas.place import NOWHERE, Place
from outsourced.canvas.plan import AnyResult, Feed, Laid, Plan, fed_by
from outsourced.canvas.signature import Signature, head, maybe_signature, signatures_in
from outsourced.resultsets import GroupResult


class group(Signature):  # noqa: N801 - Celery's name
    """Calls side by side; the result is theirs, as a list in their order."""

    kind = "group"

    def __init__(self, *tasks: Signature | Iterable[Signature], **options: Any) -> None:
        """Signatures, or one iterable of them; a group among them is unrolled. Options are those of all."""
        parts: list[Signature] = []
        for task in signatures_in(tasks):
            parts += task.tasks if isinstance(task, group) else [task]
        super().__init__("outsourced.group", (), {"tasks": parts})
        self.set(**options)

    @classmethod
    def _restored(cls, made: Mapping[str, Any]) -> Signature:
        return group(made["kwargs"]["tasks"])

    @property
    def tasks(self) -> list[Signature]:
        """The calls, in the order of their results."""
        return cast(list[Signature], self.kwargs["tasks"])

    def __repr__(self) -> str:
        return f"group({', '.join(map(repr, self.tasks))})"

    def __len__(self) -> int:
        return len(self.tasks)

    def __or__(self, other: object) -> Signature:  # type: ignore[override]
        """A chord: the other is given the results of all."""
        return NotImplemented if not isinstance(other, Signature) else chord(self, other)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Enqueues it, as `delay` does."""
        return self.apply_async(args, kwargs)

    def clone(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """A copy, with these arguments before each one's own."""
        made = self._copied()
        made.kwargs = {"tasks": [task.clone(args, kwargs) for task in self.tasks]}
        return made.set(**options)

    def set(self, immutable: bool | None = None, **options: Any) -> Self:  # noqa: FBT001 - Celery's order
        if "task_id" in options:
            self.options["task_id"] = options.pop("task_id")
        link, link_error = options.pop("link", None), options.pop("link_error", None)
        super().set(link=link, link_error=link_error)
        for task in self.tasks:
            task.set(immutable, **options)
        return self

    def link(self, callback: Signature) -> Signature:
        """As in Celery: has it called after the first of them, without its result."""
        return self.tasks[0].link(callback.clone().set(immutable=True)) if self.tasks else callback

    def link_error(self, errback: Signature) -> Signature:
        """Has it called for each of them that fails."""
        for task in self.tasks:
            task.link_error(errback)
        return errback

    def freeze(self, _id: str | UUID | None = None) -> GroupResult:
        self.options["task_id"] = str(_id or self.options.get("task_id") or calls.job_id(None))
        return GroupResult(self.options["task_id"], [task.freeze() for task in self.tasks])

    def is_nothing(self) -> bool:
        return not self.tasks

    def _runs_here(self) -> bool:
        return True

    def _applied(self, *, throw: bool | None) -> GroupResult:
        group_id = self.options.get("task_id") or calls.job_id(None)
        return GroupResult(group_id, [task.apply(throw=throw) for task in self.tasks])

    def _apply_as_if_sent(self) -> GroupResult:
        return self._applied(throw=None)

    def laid(self, plan: Plan, feed: Feed, parent: AnyResult | None, place: Place = NOWHERE) -> Laid:
        group_id = str(self.options.get("task_id") or calls.job_id(None))
        laid = [
            task.laid(plan, feed, parent, place.of_member(group_id, number))
            for number, task in enumerate(self.tasks)
        ]
        result = GroupResult(group_id, [one.result for one in laid], parent=parent)
        raisers = [job_id for one in laid for job_id in one.raisers]
        return Laid(ends=[one.ends for one in laid], raisers=raisers, result=result)


class chord(Signature):  # noqa: N801 - Celery's name
    """A group, and a call with the list of its results once all have completed.

    If one of them does not, the body fails with a ChordError; the others run all the same.
    """

    kind = "chord"

    def __init__(
        self, header: Signature | Iterable[Signature], body: Signature | None = None, **options: Any
    ) -> None:
        """Options are those of the header; the id, `link`, `link_error` and `add_to_chord`, the body's."""
        parts = {"header": group(header), "body": None if body is None else maybe_signature(body).clone()}
        super().__init__("outsourced.chord", (), parts)
        self.set(**options)

    @classmethod
    def _restored(cls, made: Mapping[str, Any]) -> Signature:
        header = maybe_signature(made["kwargs"]["header"])
        return cls(header, made["kwargs"]["body"])

    @property
    def id(self) -> str | None:
        """The body's."""
        return None if self.body is None else self.body.id

    @property
    def header(self) -> group:
        """The calls whose results the body is given."""
        return cast(group, self.kwargs["header"])

    @property
    def body(self) -> Signature | None:
        """What is called with them."""
        return cast(Signature | None, self.kwargs["body"])

    @property
    def tasks(self) -> list[Signature]:
        """Those of the header."""
        return self.header.tasks

    def __repr__(self) -> str:
        return f"chord([{', '.join(map(repr, self.tasks))}], {self.body!r})"

    def __call__(self, body: Signature | None = None, **options: Any) -> Any:
        """Enqueues it, with this body."""
        made = self.clone()
        if body is not None:
            made.kwargs["body"] = maybe_signature(body).clone()
        return made.apply_async(**options)

    def clone(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """A copy, with these arguments before those of each in the header."""
        made = self._copied()
        body = None if self.body is None else self.body.clone()
        made.kwargs = {"header": self.header.clone(args, kwargs), "body": body}
        return made.set(**options)

    def set(self, immutable: bool | None = None, **options: Any) -> Self:  # noqa: FBT001 - Celery's order
        body = ("task_id", "link", "link_error", "add_to_chord", "canvas")
        of_body = {name: options.pop(name) for name in body if name in options}
        if of_body:
            self._require_body().set(**of_body)
        self.header.set(immutable, **options)
        return self

    def link(self, callback: Signature) -> Signature:
        return self._require_body().link(callback)

    def link_error(self, errback: Signature) -> Signature:
        """Has it called if the body fails, which it does if one of the header does."""
        return self._require_body().link_error(errback)

    def freeze(self, _id: str | UUID | None = None) -> AnyResult:
        header, body = self.header.freeze(), self._require_body().freeze(_id)
        head(body).parent = header
        return body

    def _runs_here(self) -> bool:
        return True

    def _applied(self, *, throw: bool | None) -> Any:
        header = self.header.apply(throw=throw)
        result = self._require_body().apply((header.get(disable_sync_subtasks=False),), throw=throw)
        head(result).parent = header
        return result

    def _apply_as_if_sent(self) -> Any:
        return self._applied(throw=None)

    def laid(self, plan: Plan, feed: Feed, parent: AnyResult | None, place: Place = NOWHERE) -> Laid:
        body = self._require_body()
        header = self.header.laid(plan, feed, parent, Place().before(body))
        return body.laid(plan, fed_by(header.ends, before=feed), header.result, place)

    def _require_body(self) -> Signature:
        if self.body is None:
            raise ValueError("this chord has no body: chord(header)(body), or chord(header, body)")
        return self.body
