"""Celery's `result`: what became of a task."""

from __future__ import annotations

from outsourced.eager import EagerResult
from outsourced.results import AsyncResult

__all__ = ["AsyncResult", "EagerResult"]
