"""The app object of Celery's shape, for code that comes from there."""

from outsourced.app.base import Celery, current_app

__all__ = ["Celery", "current_app"]
