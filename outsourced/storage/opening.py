"""`open_storage`, from what OUTSOURCED_STORAGE says to the storage it means."""

from __future__ import annotations

import importlib
from pathlib import Path

from outsourced.errors import MissingExtra
from outsourced.storage.base import Storage
from outsourced.storage.local import LocalStorage


def open_storage(place: Path | str) -> Storage:
    """The storage in a folder, or under a URL; raises MissingExtra, or ConfigurationError for the URL.

    Nothing is asked of the place yet.
    """
    if isinstance(place, Path):
        return LocalStorage(place)
    try:
        remote = importlib.import_module("outsourced.storage.remote")
    except ModuleNotFoundError as error:
        if error.name != "fsspec":
            raise
        raise MissingExtra(
            f"OUTSOURCED_STORAGE is {place!r}, which needs fsspec: pip install 'outsourced[s3]'",
            extra="s3",
        ) from error
    storage: Storage = remote.RemoteStorage(place)
    return storage
