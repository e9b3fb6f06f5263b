"""`Outsourced`, the Flask extension.

A guest in the host's app: its blueprint aside, it registers no route, no error handler, no database
object and no hook that outlives the first request.
"""

from __future__ import annotations

import importlib
from typing import Any

from flask import Flask, request_started

from outsourced import jobclasses, task_settings
from outsourced.app import base
from outsourced.backend import add_provider
from outsourced.errors import ConfigurationError
from outsourced.server.celery_app import celery_here
from outsourced.server.host_migrations import spare_our_tables
from outsourced.server.services import KEY, Services, provide_backend, provide_task_settings

#: the blueprint's name
NAME = "outsourced"


class Outsourced:
    """Sets an app up as a server of jobs: its `Services`, in `app.extensions["outsourced"]`.

    `app.register_blueprint(outsourced.bp, url_prefix="/outsourced")` does this by itself. Make one
    yourself, before that, to name another `db` than `app.extensions["sqlalchemy"]`. One may serve
    several apps. The configuration read is that of `outsourced.server.config.Settings`.
    """

    def __init__(self, app: Flask | None = None, *, db: Any = None) -> None:
        self._db = db
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Reads the configuration and imports what it includes.

        Raises ConfigurationError for it, and for an app set up already.
        """
        if KEY in app.extensions:
            raise ConfigurationError(
                "outsourced is set up in this app already: make `Outsourced(app, db=db)` once, "
                "and before `app.register_blueprint(outsourced.bp, …)`"
            )
        services = app.extensions[KEY] = Services(app, db=self._db)
        for module in services.settings.include:
            jobclasses.register(importlib.import_module(module))
        add_provider(provide_backend)
        base.add_provider(celery_here)
        task_settings.add_provider(provide_task_settings)
        _exempt_from_csrf_protection(app)
        spare_our_tables(app)


def _exempt_from_csrf_protection(app: Flask) -> None:
    """Tells Flask-WTF's CSRFProtect, whenever the host sets it up, that our clients send no cookies."""

    def exempt(sender: Flask, **extra: Any) -> None:
        request_started.disconnect(exempt, sender)
        protection = sender.extensions.get("csrf")
        if protection is not None and NAME in sender.blueprints:
            protection.exempt(sender.blueprints[NAME])

    request_started.connect(exempt, app, weak=False)
