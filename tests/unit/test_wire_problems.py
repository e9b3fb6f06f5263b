"""Answers that are no success, as errors; and the header fields both ends use."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from outsourced.errors import (
    BY_CODE,
    AuthenticationFailed,
    BackendUnavailable,
    InvalidRequest,
    LeaseLost,
    NotFound,
    OutsourcedError,
    QueueFull,
    TooLarge,
)
from outsourced.wire import error_from_answer
from outsourced.wire.headers import check_file_name, dump_digest, load_digest

URL = "https://app.example.com/outsourced/v1/leases"


def error_of(status: int, body: bytes | dict[str, Any], **headers: str) -> OutsourcedError:
    if isinstance(body, dict):
        body, headers = json.dumps(body).encode(), {"Content-Type": "application/problem+json"} | headers
    named = CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()})
    return error_from_answer(status, named, body, url=URL)


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_error_from_answer_is_of_the_class_the_server_raised(code: str) -> None:
    error = error_of(400, {"code": code, "detail": "because", "title": "Bad"})
    assert type(error) is BY_CODE[code]
    assert str(error) == "because"


def test_error_from_answer_carries_the_facts() -> None:
    problem = {"type": "about:blank", "status": 429, "code": "queue_full", "detail": "full", "queue": "q"}
    error = error_of(429, problem | {"message": "m", "self": "s"}, Retry_After="7")
    assert isinstance(error, QueueFull)
    assert error.facts == {"queue": "q", "retry_after": 7.0}


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, AuthenticationFailed), (404, NotFound), (422, InvalidRequest), (503, BackendUnavailable)],
)
def test_error_from_answer_takes_unknown_codes_by_their_status(status: int, expected: type) -> None:
    assert type(error_of(status, {"code": "of_the_future", "detail": "d"})) is expected


@pytest.mark.parametrize(
    ("status", "named"),
    [
        (200, "captive portal"),
        (401, "Basic realm=gate"),
        (403, "firewall"),
        (404, "prefix"),
        (407, "proxy asks for a login"),
        (502, "a proxy in between"),
    ],
)
def test_error_from_answer_takes_foreign_pages_as_unavailable(status: int, named: str) -> None:
    error = error_of(
        status,
        b"<html> <h1>Gate\nway</h1>",
        Content_Type="text/html",
        WWW_Authenticate="Basic realm=gate",
    )
    assert type(error) is BackendUnavailable
    assert f"{URL} answered {status} with text/html" in str(error)
    assert named in str(error)
    assert "<h1>Gate way</h1>" in str(error)


def test_error_from_answer_takes_a_foreign_413_as_too_large() -> None:
    assert type(error_of(413, b"<html>", Content_Type="text/html")) is TooLarge


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b'"code"', b'{"code": 5}', b"[" * 5000])
def test_error_from_answer_survives_any_body(body: bytes) -> None:
    assert type(error_of(500, body)) is BackendUnavailable


def test_error_from_answer_of_a_lease_url() -> None:
    assert isinstance(error_of(409, {"code": "lease_lost"}), LeaseLost)


def test_load_digest_reads_what_dump_digest_writes() -> None:
    sha256 = hashlib.sha256(b"outsourced").hexdigest()
    written = dump_digest(sha256)
    assert written.startswith("sha-256=:")
    assert load_digest(written) == sha256
    assert load_digest(f"sha-512=:YWJj:, {written};a=1") == sha256


@pytest.mark.parametrize(
    "value", ["", "sha-256", "sha-256=abc", "sha-256=:YWJj:", "sha-256=(:YWJj:)", "md5=:YWJj:", "=:", "é"]
)
def test_load_digest_refuses_what_holds_no_sha256(value: str) -> None:
    with pytest.raises(InvalidRequest, match="Repr-Digest"):
        load_digest(value)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "a" * 256, "\u202etxt"])
def test_check_file_name_refuses_what_no_file_is_called(name: str) -> None:
    with pytest.raises(InvalidRequest):
        check_file_name(name)


def test_check_file_name_takes_other_scripts_and_spaces() -> None:
    assert check_file_name("Übersicht 2026 – Größe.pdf") == "Übersicht 2026 – Größe.pdf"
