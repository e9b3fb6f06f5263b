"""The host's own `flask db …`, where it has Flask-Migrate: it neither drops nor draws up our tables.

Nothing of the host is touched before one of these commands runs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask, appcontext_pushed, current_app, request_started

from outsourced.sql.autogenerate import IncludeName, Parents, include_name

log = logging.getLogger(__name__)

#: in `app.extensions`, by Flask-Migrate
MIGRATE = "migrate"


def spare_our_tables(app: Flask) -> None:
    """Sets the app's Flask-Migrate up for that, whether it was made already or comes later."""

    def look(sender: Flask, **extra: Any) -> None:
        settings = sender.extensions.get(MIGRATE)
        if settings is not None:
            appcontext_pushed.disconnect(look, sender)
            _configure(settings.migrate)

    def give_up(sender: Flask, **extra: Any) -> None:
        # a serving process migrates nothing
        request_started.disconnect(give_up, sender)
        appcontext_pushed.disconnect(look, sender)

    appcontext_pushed.connect(look, app, weak=False)
    request_started.connect(give_up, app, weak=False)


def _configure(migrate: Any) -> None:
    if _filter_names not in migrate.configure_callbacks:  # one Migrate may serve several apps
        migrate.configure(_filter_names)


def _filter_names(config: Any) -> Any:
    """Called by Flask-Migrate as each command begins: adds our filter to the arguments of its `env.py`."""
    if _filters_by_itself(config):
        log.info("env.py has an include_name of its own: it has to leave out what begins with outsourced_")
        return config
    arguments = current_app.extensions[MIGRATE].configure_args
    theirs = arguments.get("include_name")
    if not isinstance(theirs, _SparingOurs):
        arguments["include_name"] = _SparingOurs(theirs)
    return config


@dataclass(frozen=True)
class _SparingOurs:
    """An `include_name` that includes what the host's does, if it has one, but our tables."""

    theirs: IncludeName | None

    def __call__(self, name: str | None, kind: str, parents: Parents) -> bool:
        return include_name(name, kind, parents) and (self.theirs is None or self.theirs(name, kind, parents))


def _filters_by_itself(config: Any) -> bool:
    """Whether the host's `env.py` passes `include_name` itself, and could not take another."""
    env = Path(config.get_main_option("script_location")) / "env.py"
    return env.is_file() and "include_name=" in env.read_text(errors="replace").replace(" ", "")
