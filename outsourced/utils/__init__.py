"""Celery's `utils`, as far as applications use them."""

from __future__ import annotations

from outsourced.calls import job_id

__all__ = ["uuid"]


def uuid() -> str:
    """A new task id."""
    return str(job_id(None))
