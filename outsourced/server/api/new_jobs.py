"""What a request to enqueue says: the jobs, the attachment, and what makes it the same request again."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import BinaryIO, cast

from flask import request
from werkzeug.datastructures import FileStorage

from outsourced.attachments import new_file
from outsourced.errors import DigestMismatch, InvalidRequest
from outsourced.records import NewFile, NewJob
from outsourced.server.api.messages import json_body
from outsourced.server.limits import bound_multipart
from outsourced.server.services import Services
from outsourced.sql.producing import Key
from outsourced.wire.headers import DIGEST_HEADER, KEY_HEADER, check_file_name, load_digest
from outsourced.wire.new_jobs import FILE_PART, JOB_PART, load_new_job, load_new_jobs

#: characters of an Idempotency-Key
MAX_KEY = 200


def read_job(services: Services) -> tuple[NewJob, Key | None]:
    """One job, with its attachment where the body is multipart."""
    if request.mimetype != "multipart/form-data":
        body = json_body()
        return load_new_job(body), _key(body)
    bound_multipart(services.settings)
    if set(request.form) != {JOB_PART} or set(request.files) != {FILE_PART}:
        raise InvalidRequest(f"a multipart body has the parts {JOB_PART!r}, JSON, and {FILE_PART!r}, a file")
    body, file = request.form[JOB_PART].encode(), request.files[FILE_PART]
    digest = _checked_digest(file)
    return replace(load_new_job(body), attachment=_attachment(file)), _key(body + digest.encode())


def read_jobs() -> tuple[tuple[NewJob, ...], Key | None]:
    """Many jobs, none of them with an attachment."""
    body = json_body()
    return load_new_jobs(body), _key(body)


def _checked_digest(file: FileStorage) -> str:
    """The digest the part was announced with, and has; the hexadecimal one it has where none was."""
    digest = hashlib.file_digest(file.stream, "sha256").hexdigest()  # type: ignore[arg-type]
    file.stream.seek(0)
    announced = file.headers.get(DIGEST_HEADER)
    if announced is not None and load_digest(announced) != digest:
        raise DigestMismatch("the attachment did not arrive as it was sent")
    return digest


def _attachment(file: FileStorage) -> NewFile:
    name = check_file_name(file.filename or "")
    content_type = file.mimetype or "application/octet-stream"
    return replace(new_file(cast(BinaryIO, file.stream)), filename=name, content_type=content_type)


def _key(body: bytes) -> Key | None:
    text = request.headers.get(KEY_HEADER)
    if text is None:
        return None
    if not 0 < len(text) <= MAX_KEY or not text.isprintable():
        raise InvalidRequest(f"{KEY_HEADER} must be 1 to {MAX_KEY} printable characters")
    return Key(text=text, fingerprint=hashlib.sha256(request.path.encode() + b"\0" + body).hexdigest())
