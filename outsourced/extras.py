"""What to say when an optional part of the package is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from outsourced.errors import MissingExtra

_SERVER_PACKAGES = frozenset(
    {"alembic", "flask", "flask_migrate", "flask_sqlalchemy", "sqlalchemy", "werkzeug"}
)


@contextmanager
def server_extra(needed_for: str) -> Iterator[None]:
    """Turns the lack of a package of the `server` extra into MissingExtra; other ImportErrors pass."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _SERVER_PACKAGES:
            raise
        raise MissingExtra(
            f"{needed_for} needs {package}, which is not installed: pip install 'outsourced[server]'",
            extra="server",
        ) from error
