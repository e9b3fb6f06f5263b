"""The app in Celery's shape that belongs to a Flask app: `app.extensions["celery"]`, else the process's."""

from __future__ import annotations

from flask import Flask, current_app, has_app_context

from outsourced.app import base
from outsourced.app.base import Celery

#: in `app.extensions`, where Flask's documentation puts it
KEY = "celery"


def celery_here() -> Celery | None:
    """That of the app context; None without one, or where the Flask app has none."""
    return _own(current_app) if has_app_context() else None


def celery_of(app: Flask) -> Celery | None:
    """That of this Flask app, else the one of the process; None where there is none."""
    return _own(app) or base.existing()


def import_tasks(app: Flask) -> None:
    """Imports the modules that its settings and `autodiscover_tasks` name."""
    celery = celery_of(app)
    if celery is not None:
        celery.finalize()


def _own(app: Flask) -> Celery | None:
    found = app.extensions.get(KEY)
    return found if isinstance(found, Celery) else None
