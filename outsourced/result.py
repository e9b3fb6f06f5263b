"""`AsyncResult` where Celery has it."""

from outsourced.results import AsyncResult

__all__ = ["AsyncResult"]
