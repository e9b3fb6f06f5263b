"""A stored file as the answer to GET and HEAD: conditions and ranges as RFC 9110 has them.

The bytes go out in pieces, read as they are sent, or the web server before us is told to send them
(OUTSOURCED_SENDFILE), and then ranges are its business.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import quote
from uuid import UUID

from flask import Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.http import dump_options_header, quote_etag

from outsourced.errors import NotFound
from outsourced.records import StoredFile
from outsourced.server.services import Services
from outsourced.sql import storage_mark
from outsourced.storage.base import CHUNK
from outsourced.wire.headers import DIGEST_HEADER, dump_digest


def send_stored(services: Services, file: StoredFile, key: UUID) -> Response:
    """The answer to this request for a stored file; raises StorageMismatch or NotFound without its bytes."""
    storage, sendfile = services.storage, services.settings.sendfile
    if not storage.holds(key):
        storage_mark.require(services.backend)
        raise NotFound("the file is gone from storage")
    headers = {"ETag": quote_etag(file.sha256), "Cache-Control": "private, no-cache"}
    settled = _status_by_conditions(file.sha256)
    if settled is not None:
        return Response(status=settled, headers=headers)
    headers |= _description(file)
    if sendfile is not None:
        return Response(headers=headers | {sendfile.header: sendfile.place(storage.path(key))})
    span = _span(file)
    start, end = span or (0, file.size)
    headers |= {"Accept-Ranges": "bytes", "Content-Length": str(end - start)}
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    if request.method == "HEAD":
        return Response(headers=headers)
    stream = storage.open(key)
    answer = Response(_pieces(stream, start, end), status=206 if span else 200, headers=headers)
    answer.call_on_close(stream.close)
    return answer


def _description(file: StoredFile) -> dict[str, str]:
    return {
        "Content-Type": file.content_type,
        "Content-Disposition": _disposition(file.name),
        DIGEST_HEADER: dump_digest(file.sha256),
        "Content-Security-Policy": "sandbox",
        "X-Content-Type-Options": "nosniff",
    }


def _disposition(name: str) -> str:
    if name.isascii():
        return dump_options_header("attachment", {"filename": name})
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"  # RFC 8187


def _status_by_conditions(tag: str) -> int | None:
    """412 or 304 where If-Match or If-None-Match settle it: before any range (RFC 9110 §13.2.2)."""
    if "If-Match" in request.headers and not request.if_match.contains(tag):
        return 412
    if "If-None-Match" in request.headers and request.if_none_match.contains_weak(tag):
        return 304
    return None


def _span(file: StoredFile) -> tuple[int, int] | None:
    """The first byte wanted and the one after the last; raises RequestedRangeNotSatisfiable.

    None, for the whole file, where no range is asked for, or one in a unit or a form we do not know, or
    several, and where If-Range names another file (§14.2, §13.1.5).
    """
    wanted = request.range
    if request.method != "GET" or wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
        return None
    tag = quote_etag(file.sha256)
    if request.headers.get("If-Range", tag) != tag:
        return None
    start, end = wanted.ranges[0]
    if start < 0:  # the last so many
        start = max(0, file.size + start)
    if start >= file.size:
        raise RequestedRangeNotSatisfiable(file.size)
    return start, min(end or file.size, file.size)


def _pieces(stream: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    stream.seek(start)
    while start < end and (piece := stream.read(min(CHUNK, end - start))):
        start += len(piece)
        yield piece
