"""Header fields both ends write and read, and the rules for the names of files in URLs."""

from __future__ import annotations

from typing import Any

import http_sf

from outsourced.errors import InvalidRequest

#: the protocol's major version; within it only additions happen
PROTOCOL = "1"
PROTOCOL_HEADER = "Outsourced-Protocol"
#: RFC 9530: the digest of the file, whatever the transfer did to it
DIGEST_HEADER = "Repr-Digest"
#: makes a request one request, however often it is sent (draft-ietf-httpapi-idempotency-key-header)
KEY_HEADER = "Idempotency-Key"
#: says PUT in a POST, for filters on the way that stop PUT
OVERRIDE_HEADER = "X-HTTP-Method-Override"

#: characters of a file's name
MAX_FILE_NAME = 255
_ALGORITHM = "sha-256"
_SHA256_BYTES = 32


def dump_digest(sha256: str) -> str:
    """The value of `Repr-Digest` for a hexadecimal SHA-256."""
    return str(http_sf.ser({_ALGORITHM: bytes.fromhex(sha256)}))


def load_digest(value: str) -> str:
    """The hexadecimal SHA-256 in a `Repr-Digest`; raises InvalidRequest where there is none."""
    try:
        members: Any = http_sf.parse(value.encode("latin-1"), tltype="dictionary")
        digest, _ = members[_ALGORITHM]
    except (http_sf.StructuredFieldError, KeyError, ValueError):
        digest = None
    if not isinstance(digest, bytes) or len(digest) != _SHA256_BYTES:
        raise InvalidRequest(f"{DIGEST_HEADER} must be there and hold `sha-256=:base64 of the digest:`")
    return digest.hex()


def check_file_name(name: str) -> str:
    """A file's name, fit for a URL and for any file system; raises InvalidRequest."""
    if not 0 < len(name) <= MAX_FILE_NAME or name in {".", ".."}:
        raise InvalidRequest(f"a file's name has 1 to {MAX_FILE_NAME} characters and is neither . nor ..")
    if not name.isprintable() or "/" in name or "\\" in name:
        raise InvalidRequest(f"the file name {name!r} has a slash or an unprintable character in it")
    return name
