"""Files under a lease: the job's attachment down, the files its task saves up. Streamed both ways."""

from __future__ import annotations

from typing import BinaryIO, cast
from uuid import UUID

from flask import Blueprint, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import MethodNotAllowed

from outsourced.errors import DigestMismatch, InvalidRequest
from outsourced.server.api.messages import json_answer, require_caller
from outsourced.server.api.sending import send_stored
from outsourced.server.services import Services, here
from outsourced.sql.files import forgotten_if_refused
from outsourced.storage import Stored, too_large
from outsourced.wire.headers import (
    DIGEST_HEADER,
    OVERRIDE_HEADER,
    check_file_name,
    load_digest,
)
from outsourced.wire.reply import dump_file

#: for a file that says nothing of its kind
DEFAULT_TYPE = "application/octet-stream"
#: characters of a content type
MAX_TYPE = 255


def register(bp: Blueprint) -> None:
    """Adds the rules."""
    bp.get("/v1/leases/<uuid:lease_id>/attachment")(fetch_attachment)
    bp.route("/v1/leases/<uuid:lease_id>/files/<name>", methods=["PUT", "POST"])(save_file)


def fetch_attachment(lease_id: UUID) -> ResponseReturnValue:
    """The bytes of the job's attachment, with their digest; ranges and conditions as HTTP has them."""
    services = here()
    worker = require_caller(services)
    return send_stored(services, *services.backend.attachment(worker, lease_id))


def save_file(lease_id: UUID, name: str) -> ResponseReturnValue:
    """Stores a file the task saved: 201, or 200 for one that was there already."""
    _require_put()
    services = here()
    worker = require_caller(services)
    name, content_type = check_file_name(name), _content_type()
    digest = load_digest(request.headers.get(DIGEST_HEADER, ""))
    # asked here so that nobody without a lease fills the disk, and again when the row is written
    services.backend.require_lease(worker, lease_id)
    stored = _receive(services, digest=digest)
    with forgotten_if_refused(services.storage, stored):
        saved = services.backend.save_file(
            worker,
            lease_id,
            name,
            key=stored.key,
            size=stored.size,
            sha256=stored.sha256,
            content_type=content_type,
        )
    is_new = services.storage.holds(stored.key)  # the same file again keeps the bytes it had
    return json_answer(dump_file(saved), status=201 if is_new else 200)


def _require_put() -> None:
    if request.method == "POST" and request.headers.get(OVERRIDE_HEADER, "").upper() != "PUT":
        raise MethodNotAllowed(["PUT"])


def _content_type() -> str:
    content_type = request.headers.get("Content-Type", DEFAULT_TYPE)
    if len(content_type) > MAX_TYPE or not (content_type.isascii() and content_type.isprintable()):
        raise InvalidRequest(f"Content-Type must be at most {MAX_TYPE} printable ASCII characters")
    return content_type


def _receive(services: Services, *, digest: str) -> Stored:
    """Streams the body into storage; raises TooLarge, or DigestMismatch, and keeps nothing then."""
    storage, limit = services.storage, services.settings.max_attachment
    # one byte more than the storage takes, so that it is the one to refuse what comes without a length
    request.max_content_length = limit + 1
    if (request.content_length or 0) > limit:
        raise too_large(limit)
    stored = storage.store(cast(BinaryIO, request.stream), limit=limit)
    with forgotten_if_refused(storage, stored):
        if stored.sha256 != digest:
            raise DigestMismatch(f"{stored.size:,} bytes came, and not with the digest that was announced")
    return stored
