"""`Task` where Celery has it."""

from outsourced.tasks import Task

__all__ = ["Task"]
