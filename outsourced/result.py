"""Celery's `result`: what became of a task."""

from __future__ import annotations

from outsourced.eager import EagerResult
from outsourced.results import AsyncResult
from outsourced.resultsets import GroupResult, ResultSet, result_from_tuple

__all__ = ["AsyncResult", "EagerResult", "GroupResult", "ResultSet", "result_from_tuple"]
