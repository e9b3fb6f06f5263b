"""A job and its attachment as one multipart body (RFC 7578), streamed: the file is never in memory."""

from __future__ import annotations

import hashlib
import io
import os
from typing import BinaryIO
from uuid import uuid4

from urllib3.fields import RequestField

from outsourced.records import NewFile
from outsourced.wire.headers import DIGEST_HEADER, dump_digest
from outsourced.wire.new_jobs import FILE_PART, JOB_PART


class Multipart(io.RawIOBase):
    """A seekable file of the body's bytes, with their number as its length.

    Reads the attachment's stream once more than it is sent, for its digest.
    """

    def __init__(self, job: bytes, stream: BinaryIO, attachment: NewFile) -> None:
        boundary = uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        size = stream.seek(0, os.SEEK_END)
        fields = (
            _field(JOB_PART, None, "application/json", {}),
            _field(
                FILE_PART,
                attachment.filename,
                attachment.content_type,
                {DIGEST_HEADER: dump_digest(digest)},
            ),
        )
        head = f"--{boundary}\r\n{fields[0]}".encode() + job
        head += f"\r\n--{boundary}\r\n{fields[1]}".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        self._parts: list[tuple[BinaryIO, int]] = [
            (io.BytesIO(head), len(head)),
            (stream, size),
            (io.BytesIO(tail), len(tail)),
        ]
        self._position = 0
        self.seek(0)

    def __len__(self) -> int:
        return sum(size for _, size in self._parts)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """To the start, which is all that sending again needs; or nowhere, to tell where one is."""
        if offset or whence not in (os.SEEK_SET, os.SEEK_CUR):
            raise io.UnsupportedOperation("a multipart body can only be rewound")
        if whence == os.SEEK_SET:
            self._position = 0
            for part, _ in self._parts:
                part.seek(0)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        for part, _ in self._parts:
            data = part.read(len(buffer))
            if data:
                buffer[: len(data)] = data
                self._position += len(data)
                return len(data)
        return 0


def _field(name: str, filename: str | None, content_type: str, headers: dict[str, str]) -> str:
    field = RequestField(name, b"", filename=filename, headers=headers)
    field.make_multipart(content_type=content_type)
    lines = [f"{key}: {value}" for key, value in field.headers.items() if value]
    return "\r\n".join(lines) + "\r\n\r\n"
