"""`Storage`, what the rest of the package asks of a place for bytes, and what every such place shares."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import UUID

from outsourced.errors import TooLarge

#: bytes read at a time
CHUNK = 256 * 1024

#: keys are swept by their first byte
PARTS = 256

#: the name of the file that says whose storage this is
MARK = "outsourced-installation"

#: given keys, gives those of them that are in use
Known = Callable[[Collection[UUID]], Collection[UUID]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Bytes now in storage. `sha256` is hexadecimal."""

    key: UUID
    size: int
    sha256: str


class Storage(Protocol):
    """Keeps bytes under keys of its own making."""

    def store(self, stream: BinaryIO, *, limit: int | None = None) -> Stored:
        """Keeps all the stream gives; raises TooLarge above `limit` bytes, and then keeps nothing."""

    def holds(self, key: UUID) -> bool:
        """Whether the bytes of this key are there."""

    def open(self, key: UUID) -> BinaryIO:
        """A fresh, seekable stream; raises NotFound."""

    def path(self, key: UUID) -> Path | None:
        """The file that holds the bytes, or would; None where no file of this machine does."""

    def delete(self, key: UUID) -> None:
        """Forgets the bytes; does nothing where there are none."""

    def sweep(self, part: int, *, older_than: timedelta, known: Known) -> int:
        """Deletes files older than this that `known` does not claim, of the keys with this first byte.

        Gives how many.
        """

    def read_mark(self) -> str | None:
        """What says whose storage this is; None where nothing does."""

    def write_mark(self, text: str) -> None:
        """Says whose storage this is from now on."""

    def is_empty(self) -> bool:
        """Whether it has no file, marks aside."""


def too_large(limit: int) -> TooLarge:
    """The refusal of a file above `limit` bytes, which says whose limit that is."""
    return TooLarge(
        f"the file is larger than the {limit:,} bytes this server accepts (its OUTSOURCED_MAX_ATTACHMENT)",
        limit=limit,
        setting="OUTSOURCED_MAX_ATTACHMENT",
    )


def is_key(name: str) -> bool:
    """Whether this is the name of a file of ours."""
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def copy(stream: BinaryIO, target: BinaryIO, *, limit: int | None) -> tuple[int, str]:
    """Writes all the stream gives; gives its size and SHA-256. Raises TooLarge."""
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(CHUNK):
        size += len(chunk)
        if limit is not None and size > limit:
            raise too_large(limit)
        digest.update(chunk)
        target.write(chunk)
    return size, digest.hexdigest()
