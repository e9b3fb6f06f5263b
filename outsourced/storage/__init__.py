"""Where the bytes of attachments and result files are. Their names, digests and owners are in the database.

A stored file is complete and safe before anybody learns its key: a crash leaves files that nobody
knows (`sweep` removes them), never a row without its file. Imports neither Flask nor SQLAlchemy.
"""

from outsourced.storage.base import Known, Storage, Stored, too_large
from outsourced.storage.local import LocalStorage
from outsourced.storage.opening import open_storage

__all__ = ["Known", "LocalStorage", "Storage", "Stored", "open_storage", "too_large"]
