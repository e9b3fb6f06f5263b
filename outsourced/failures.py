"""Failures as exceptions: in their own class where it is known here, else in one that stands for it."""

from __future__ import annotations

import ast
import sys
from types import ModuleType
from typing import Any

from outsourced.errors import JobFailed, JobRevoked, ResultPruned
from outsourced.exceptions import WorkerLostError
from outsourced.records import Failure, Job
from outsourced.states import Reason, State


class RemoteTraceback(Exception):
    """Shows, as the cause of a raised failure, where the task raised it."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class RemoteFailure(JobFailed):
    """Stands for an exception whose class is not known here. Facts: job_id, type, traceback."""

    def __str__(self) -> str:
        return f"{self.type}: {self.args[0]}"


def error_of(job: Job) -> Exception:
    """What `AsyncResult.get` raises for a job without a return value."""
    if job.state is State.COMPLETED or job.result_pruned:
        return ResultPruned(
            f"job {job.id} is {job.state}, but its result is no longer kept: it was forgotten, or is older"
            " than OUTSOURCED_RETENTION says",
            job_id=str(job.id),
        )
    if job.state in (State.EXPIRED, State.CANCELLED):
        return JobRevoked(
            f"job {job.id} is {job.state}", job_id=str(job.id), state=job.state, reason=job.reason
        )
    failure = job.error
    if failure is None and job.reason == Reason.LOST:
        return WorkerLostError(f"job {job.id} was lost with its worker", job_id=str(job.id))
    if failure is None:
        return JobFailed(f"job {job.id} is {job.state}: {job.reason}", job_id=str(job.id), reason=job.reason)
    return exception_of(failure, job_id=str(job.id))


def exception_of(failure: Failure, *, job_id: str) -> Exception:
    """The exception as it was, or what stands for one whose class is not known here."""
    error = _rebuilt(failure) or RemoteFailure(
        failure.message, job_id=job_id, type=failure.type, traceback=failure.traceback
    )
    if failure.traceback:
        error.__cause__ = RemoteTraceback(failure.traceback)
    return error


def _rebuilt(failure: Failure) -> Exception | None:
    """The exception in its own class, if that says the same; nothing is imported for it."""
    kind = _class_named(failure.type)
    if kind is None:
        return None
    for argument in (failure.message, _unquoted(failure.message)):
        try:
            error = kind(argument)
            if str(error) != failure.message:
                error.args = (argument,)
            if str(error) == failure.message:
                return error
        except Exception:  # noqa: BLE001 - somebody's constructor: it may want and raise anything
            continue
    return None


def _unquoted(message: str) -> object:
    """What a message is the repr of, as KeyError has it; else the message."""
    try:
        return ast.literal_eval(message)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return message


def _class_named(name: str) -> type[Exception] | None:
    """The exception class of this full name, if its module is already imported."""
    module_name, _, rest = ("builtins", "", name) if "." not in name else _split(name)
    found: Any = sys.modules.get(module_name)
    if not isinstance(found, ModuleType):
        return None
    for part in rest.split("."):
        # by __dict__: a module's or a metaclass's own __getattr__ is not to be run
        found = found.__dict__.get(part) if isinstance(found, ModuleType | type) else None
    # not BaseException: a task's SystemExit must not end whoever asks for its result
    if not isinstance(found, type) or not issubclass(found, Exception):
        return None
    return found if f"{found.__module__}.{found.__qualname__}" in (name, f"builtins.{name}") else None


def _split(name: str) -> tuple[str, str, str]:
    """The name in its longest part that is an imported module, and the rest."""
    module_name, dot, rest = name.rpartition(".")
    while module_name and module_name not in sys.modules:
        module_name, dot, last = module_name.rpartition(".")
        rest = f"{last}.{rest}"
    return module_name, dot, rest
