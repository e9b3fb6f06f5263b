"""Calls side by side: a `group`, and a `chord`, which calls one more with the results of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any, Self
from uuid import UUID

from outsourced import calls
from outsourced.canvas.plan import AnyResult, Feed, Laid, Plan, fed_by
from outsourced.canvas.signature import Signature, head, signatures_in
from outsourced.resultsets import GroupResult


class group(Signature):  # noqa: N801 - Celery's name
    """Calls side by side; the result is theirs, as a list in their order."""

    def __init__(self, *tasks: Signature | Iterable[Signature], **options: Any) -> None:
        """Signatures, or one iterable of them; a group among them is unrolled. Options are those of all."""
        self.tasks: list[Signature] = []
        for task in signatures_in(tasks):
            self.tasks += task.tasks if isinstance(task, group) else [task]
        super().__init__("outsourced.group", options=options)

    def __repr__(self) -> str:
        return f"group({', '.join(map(repr, self.tasks))})"

    def __len__(self) -> int:
        return len(self.tasks)

    def __or__(self, other: object) -> Signature:
        """A chord: the other is given the results of all."""
        return NotImplemented if not isinstance(other, Signature) else chord(self, other)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Enqueues it, as `delay` does."""
        return self.apply_async(args, kwargs)

    def clone(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """A copy, with these arguments before each one's own."""
        made = copy(self)
        made.tasks = [task.clone(args, kwargs) for task in self.tasks]
        made.options = dict(self.options)
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
        self.options["task_id"] = _id or self.options.get("task_id") or calls.job_id(None)
        return GroupResult(self.options["task_id"], [task.freeze() for task in self.tasks])

    def laid(self, plan: Plan, feed: Feed, parent: AnyResult | None) -> Laid:
        laid = [task.laid(plan, feed, parent) for task in self.tasks]
        result = GroupResult(
            self.options.get("task_id") or calls.job_id(None), [one.result for one in laid], parent=parent
        )
        raisers = [job_id for one in laid for job_id in one.raisers]
        return Laid(ends=[one.ends for one in laid], raisers=raisers, result=result)


class chord(Signature):  # noqa: N801 - Celery's name
    """A group, and a call with the list of its results once all have completed.

    If one of them does not, the body fails with a ChordError; the others run all the same.
    """

    def __init__(
        self, header: Signature | Iterable[Signature], body: Signature | None = None, **options: Any
    ) -> None:
        """Options are those of the header, but for the id, `link` and `link_error`, which are the body's."""
        self.header = group(header)
        self.body = None if body is None else body.clone()
        super().__init__("outsourced.chord", options=options)

    @property
    def tasks(self) -> list[Signature]:
        """Those of the header."""
        return self.header.tasks

    def __repr__(self) -> str:
        return f"chord([{', '.join(map(repr, self.tasks))}], {self.body!r})"

    def __call__(self, body: Signature | None = None, **options: Any) -> Any:
        """Enqueues it, with this body."""
        made = self.clone()
        made.body = body or made.body
        return made.apply_async(**options)

    def clone(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """A copy, with these arguments before those of each in the header."""
        made = copy(self)
        made.header = self.header.clone(args, kwargs)
        made.body = None if self.body is None else self.body.clone()
        return made.set(**options)

    def set(self, immutable: bool | None = None, **options: Any) -> Self:  # noqa: FBT001 - Celery's order
        of_body = {name: options.pop(name) for name in ("task_id", "link", "link_error") if name in options}
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

    def laid(self, plan: Plan, feed: Feed, parent: AnyResult | None) -> Laid:
        header = self.header.laid(plan, feed, parent)
        return self._require_body().laid(plan, fed_by(header.ends, before=feed), header.result)

    def _require_body(self) -> Signature:
        if self.body is None:
            raise ValueError("this chord has no body: chord(header)(body), or chord(header, body)")
        return self.body
