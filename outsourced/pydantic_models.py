"""Arguments and results that are pydantic models: `@task(pydantic=True)`, as Celery 5.5 has it.

Where the job is enqueued a model becomes plain values; where it runs, an argument annotated with a model
class becomes a model again, validated. pydantic itself is imported by the first task that asks for this.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from outsourced.errors import ConfigurationError

if TYPE_CHECKING:
    from outsourced.tasks import Task


class Models:
    """What a task's annotations say about models."""

    def __init__(self, task: Task[..., Any]) -> None:
        self._task = task
        self._base = _base_model(task.name)

    def dump(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments, models among them as plain values."""
        return (
            [self._plain(value) for value in args],
            {name: self._plain(value) for name, value in kwargs.items()},
        )

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with its annotated arguments validated, and an annotated result as plain values."""
        signature, hints = inspect.signature(function), _hints(function)

        @functools.wraps(function)
        def validated(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            for name, value in bound.arguments.items():
                model = self._model(hints.get(name), value)
                if model is not None:
                    bound.arguments[name] = self._validate(model, value)
            result = function(*bound.args, **bound.kwargs)
            expected = self._model(hints.get("return"), result)
            return self._plain(result) if expected and isinstance(result, expected) else result

        return validated

    def _validate(self, model: type[Any], value: Any) -> Any:
        return model.model_validate(
            value,
            strict=self._task.pydantic_strict,
            context={**(self._task.pydantic_context or {}), "celery_task_name": self._task.name},
        )

    def _model(self, annotation: Any, value: Any) -> type[Any] | None:
        """The model class that is annotated; None for `Model | None` where the value is None."""
        if typing.get_origin(annotation) in (typing.Union, types.UnionType):
            others = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
            annotation = others[0] if len(others) == 1 and value is not None else None
        if isinstance(annotation, type) and issubclass(annotation, self._base):
            return annotation
        return None

    def _plain(self, value: Any) -> Any:
        if not isinstance(value, self._base):
            return value
        return value.model_dump(**{"mode": "json", **(self._task.pydantic_dump_kwargs or {})})


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, AttributeError, TypeError):  # a name that only type checkers see
        return dict(getattr(function, "__annotations__", {}))


def _base_model(task: str) -> type[Any]:
    try:
        model: type[Any] = importlib.import_module("pydantic").BaseModel
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{task} is a task with pydantic=True, and pydantic is not installed: pip install pydantic"
        ) from error
    return model
