"""The remote worker: claims jobs over HTTPS, runs them in a pool, and reports how they went.

Imports the base layers, the wire and the HTTP client of `outsourced`; never Flask, SQLAlchemy or the server.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """The version of the distribution this worker came with."""
    try:
        return version("outsourced")
    except PackageNotFoundError:
        return "0+unknown"
