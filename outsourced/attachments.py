"""Files that go along with a job, from whatever the caller has in hand."""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path, PurePath
from typing import Any, BinaryIO, cast

from outsourced.errors import DigestMismatch
from outsourced.records import NewFile

_UNKNOWN = "application/octet-stream"

#: what `attachment=` takes
Attachable = str | PathLike[str] | BinaryIO | tuple[str, bytes] | NewFile


def new_file(source: Attachable) -> NewFile:
    """The file as a job carries it: from a path, an open binary file, or a pair (filename, bytes).

    Raises OSError for a path that is no readable file, TypeError for anything else. An open file is
    read from where it stands, and stays open; one that cannot be rewound (a pipe) is read into memory.
    """
    match source:
        case NewFile():
            return source
        case str() | PathLike():
            return _from_path(Path(source))
        case (str() as filename, bytes() | bytearray() | memoryview() as content):
            data = bytes(content)
            return _new(lambda: io.BytesIO(data), filename)
        case _ if hasattr(source, "read"):
            return _from_stream(source)
    raise TypeError(
        "attachment= wants a path, a file opened with 'rb', or a pair (filename, bytes); "
        f"this is a {type(source).__name__}"
    )


def guess_content_type(filename: str) -> str:
    """The media type that the name's ending stands for."""
    kind, encoding = mimetypes.guess_type(filename)
    return _UNKNOWN if kind is None or encoding is not None else kind


def _new(open_it: Callable[[], BinaryIO], filename: str) -> NewFile:
    name = PurePath(filename).name or "attachment"
    return NewFile(open=open_it, filename=name, content_type=guess_content_type(name))


def _from_path(path: Path) -> NewFile:
    path = path.absolute()
    with path.open("rb"):
        pass  # raises now, where the caller can see it, if there is no such file
    return _new(lambda: path.open("rb"), path.name)


def _from_stream(stream: Any) -> NewFile:
    if isinstance(stream, io.TextIOBase):
        raise TypeError("attachment= wants the file opened in binary mode: open(…, 'rb')")
    # a Werkzeug FileStorage has `filename`, and a `name` that is the form field's
    given = getattr(stream, "filename", None) or getattr(stream, "name", None)
    filename = given if isinstance(given, str) else "attachment"
    seekable = getattr(stream, "seekable", None)
    if seekable is None or not seekable():
        stream = io.BytesIO(stream.read())
    start = stream.tell()

    def reopen() -> BinaryIO:
        stream.seek(start)
        return cast(BinaryIO, io.BufferedReader(_Borrowed(stream)))

    return _new(reopen, filename)


class _Borrowed(io.RawIOBase):
    """Reads somebody else's stream; closing this leaves that one open."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def appearing(target: Path) -> Iterator[BinaryIO]:
    """A file to write, which is at `target` once the block has ended well, and nowhere if it fails."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_verified(chunks: Iterable[bytes], target: Path, *, sha256: str) -> None:
    """Writes the bytes to `target`, all of them and with this digest, or none; raises DigestMismatch."""
    digest = hashlib.sha256()
    with appearing(target) as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
        if digest.hexdigest() != sha256:
            raise DigestMismatch("the attachment did not arrive as it was sent")
