"""How large a request may be: our limits, not the host's, and a refusal that names the setting at work."""

from __future__ import annotations

from flask import g, request

from outsourced.errors import TooLarge
from outsourced.server.config import Settings


def bound_body(limit: int, *, says: str) -> None:
    """Bounds the body of this request; a larger one is refused in these words before it is read."""
    request.max_content_length = limit
    g.outsourced_too_large = TooLarge(says, limit=limit)


def bound_json(settings: Settings) -> None:
    """For all that is no file."""
    bound_body(
        settings.max_body,
        says=f"the body is larger than the {settings.max_body:,} bytes this server accepts "
        "(its OUTSOURCED_MAX_BODY)",
    )


def bound_multipart(settings: Settings) -> None:
    """For a job with its file: the file goes to disk while it is read, the rest stays in memory."""
    bound_body(
        settings.max_attachment + settings.max_body,
        says=f"this server accepts jobs of {settings.max_body:,} bytes (its OUTSOURCED_MAX_BODY) with "
        f"attachments of {settings.max_attachment:,} bytes (its OUTSOURCED_MAX_ATTACHMENT)",
    )
    request.max_form_memory_size = settings.max_body


def refusal() -> TooLarge:
    """What to say of this request, whose body is too large."""
    error = g.get("outsourced_too_large")
    return error if isinstance(error, TooLarge) else TooLarge()
