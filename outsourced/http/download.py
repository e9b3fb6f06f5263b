"""A file from the server, whole or not at all: what broke off goes on, and the digest is the judge."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from typing import BinaryIO

from outsourced.errors import BackendUnavailable, DigestMismatch, retry_after
from outsourced.http.transport import Transport
from outsourced.records import StoredFile

log = logging.getLogger(__name__)

#: seconds a server may ask for before a further try
LONGEST_PAUSE = 60.0


def download(
    transport: Transport, path: str, target: BinaryIO, *, wanted: StoredFile, pauses: Sequence[float]
) -> None:
    """Writes the file at `path` to `target`, which is seekable and empty; raises DigestMismatch.

    Tries again after each of the pauses; a try that brought some of the file gives all of them back.
    What came damaged is fetched anew, as often as there are pauses.
    """
    coming = _Download(transport, path, target, wanted=wanted)
    left, mismatches = list(pauses), 0
    while True:
        had = coming.position
        try:
            coming.go_on()
            return
        except BackendUnavailable as error:
            if coming.position > had:
                left = list(pauses)
            _pause_or_raise(error, left)
        except DigestMismatch as error:
            mismatches += 1
            _pause_or_raise(error, list(pauses[mismatches - 1 :]))
            coming.begin_again()


def _pause_or_raise(error: BackendUnavailable | DigestMismatch, left: list[float]) -> None:
    """Sleeps the next of the pauses; raises the error where none is left."""
    if not left:
        raise error
    pause = max(left.pop(0), min(LONGEST_PAUSE, retry_after(error)))
    log.warning("%s; trying again in %.1f s", error, pause)
    time.sleep(pause)


class _Download:
    """What has come so far."""

    def __init__(self, transport: Transport, path: str, target: BinaryIO, *, wanted: StoredFile) -> None:
        self._transport, self._path, self._target, self._wanted = transport, path, target, wanted
        self.begin_again()

    def begin_again(self) -> None:
        """Forgets it."""
        self._target.seek(0)
        self._target.truncate()
        self._digest = hashlib.sha256()
        self.position = 0
        self._tag: str | None = None

    def go_on(self) -> None:
        """Fetches what is missing; raises BackendUnavailable, or DigestMismatch once all is there."""
        if self.position < self._wanted.size or not self.position:
            self._fetch()
        if self._digest.hexdigest() != self._wanted.sha256:
            raise DigestMismatch(f"the file {self._wanted.name!r} did not arrive as it was sent")

    def _fetch(self) -> None:
        with self._transport.download(self._path, start=self.position, tag=self._tag) as coming:
            if coming.start != self.position:  # it is another file by now, or comes whole all the same
                self.begin_again()
            self._tag = coming.tag
            for chunk in coming.chunks:
                self._digest.update(chunk)
                self._target.write(chunk)
                self.position += len(chunk)
