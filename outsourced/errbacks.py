"""How an errback is called: with request, exception and traceback, or with the id of what failed alone."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from outsourced.failures import exception_of
from outsourced.records import FailedJob
from outsourced.request import Request

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def called_with(args: Sequence[Any], signature: inspect.Signature) -> Sequence[Any]:
    """The arguments with a failed job in front as a function of this signature takes it; else as they are.

    As in Celery: one that takes more than one positional argument is given (request, exc, traceback).
    """
    if not args or not isinstance(args[0], FailedJob):
        return args
    failed, *rest = args
    if not takes_several(signature):
        return [failed.id, *rest]
    request = Request(
        id=failed.id, task=failed.task, args=failed.args, kwargs=failed.kwargs, called_directly=False
    )
    return [request, exception_of(failed.failure, job_id=failed.id), failed.failure.traceback, *rest]


def takes_several(signature: inspect.Signature) -> bool:
    """Whether a function of this signature takes more than one positional argument."""
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    return inspect.Parameter.VAR_POSITIONAL in kinds or sum(kind in _POSITIONAL for kind in kinds) > 1
