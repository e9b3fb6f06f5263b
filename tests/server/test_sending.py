"""Stored files over HTTP: conditions and ranges as RFC 9110 has them, or left to the web server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from outsourced.records import Lease
from outsourced.server.config import Sendfile
from outsourced.server.services import Services
from outsourced.sql import storage_mark
from outsourced.wire.headers import dump_digest
from tests.server.loopback import RemoteWorker, on_one_database
from tests.server.test_api_files import CONTENT, SHA256, lease, raw

__all__ = ["lease"]  # the fixture

pytestmark = on_one_database

SIZE = len(CONTENT)
TAG = f'"{SHA256}"'


@pytest.fixture
def path(lease: Lease) -> str:
    return f"/v1/leases/{lease.id}/attachment"


def test_whole_file_has_its_tag_digest_and_length(worker: RemoteWorker, path: str) -> None:
    answer = raw(worker, "GET", path)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["ETag"] == TAG
    assert answer.headers["Repr-Digest"] == dump_digest(SHA256)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-", 0, SIZE),
        ("bytes=0-0", 0, 1),
        ("bytes=1000000-", 1_000_000, SIZE),
        ("bytes=262143-262144", 262_143, 262_145),
        (f"bytes=5-{SIZE * 10}", 5, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes=-{SIZE * 10}", 0, SIZE),
    ],
)
def test_range_brings_those_bytes(worker: RemoteWorker, path: str, asked: str, start: int, end: int) -> None:
    answer = raw(worker, "GET", path, Range=asked)
    assert (answer.status_code, answer.content) == (206, CONTENT[start:end])
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["Content-Length"] == str(end - start)
    assert answer.headers["ETag"] == TAG


@pytest.mark.parametrize("asked", ["lines=1-2", "bytes=9-3", "bytes=a-b", "bytes", "bytes=0-1,5-6"])
def test_range_of_another_kind_brings_the_whole(worker: RemoteWorker, path: str, asked: str) -> None:
    answer = raw(worker, "GET", path, Range=asked)
    assert (answer.status_code, len(answer.content)) == (200, SIZE)


def test_range_beyond_the_end_is_refused_with_the_length(worker: RemoteWorker, path: str) -> None:
    answer = raw(worker, "GET", path, Range=f"bytes={SIZE}-")
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    ("condition", "status"),
    [(TAG, 206), ('"another"', 200), (f"W/{TAG}", 200), ("Tue, 24 Nov 2026 12:00:00 GMT", 200)],
)
def test_if_range_decides_between_the_rest_and_the_whole(
    worker: RemoteWorker, path: str, condition: str, status: int
) -> None:
    answer = raw(worker, "GET", path, Range="bytes=1000-", If_Range=condition)
    assert answer.status_code == status
    assert len(answer.content) == (SIZE - 1000 if status == 206 else SIZE)


@pytest.mark.parametrize("tags", [TAG, f"W/{TAG}", f'"x", {TAG}', "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_if_none_match_saves_the_bytes(worker: RemoteWorker, path: str, tags: str, method: str) -> None:
    answer = raw(worker, method, path, If_None_Match=tags, Range="bytes=5-9")
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == TAG


def test_if_none_match_of_another_file_does_not(worker: RemoteWorker, path: str) -> None:
    assert raw(worker, "GET", path, If_None_Match='"another"').status_code == 200


@pytest.mark.parametrize(("tags", "status"), [(TAG, 200), ("*", 200), ('"x"', 412), (f"W/{TAG}", 412)])
def test_if_match_refuses_another_file(worker: RemoteWorker, path: str, tags: str, status: int) -> None:
    assert raw(worker, "GET", path, If_Match=tags).status_code == status


def test_head_describes_the_whole(worker: RemoteWorker, path: str) -> None:
    answer = raw(worker, "HEAD", path, Range="bytes=5-9")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["ETag"] == TAG


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_file_without_its_bytes_is_not_found(
    worker: RemoteWorker, path: str, method: str, services: Services
) -> None:
    for stored in services.settings.storage.rglob("*-*"):
        stored.unlink()
    assert raw(worker, method, path).status_code == 404


def test_file_whose_bytes_are_on_another_host_says_so(
    worker: RemoteWorker, path: str, services: Services
) -> None:
    storage_mark.settle(services.backend)
    shutil.rmtree(services.settings.storage)
    answer = raw(worker, "GET", path)
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_mismatch")
    assert "OUTSOURCED_STORAGE must be one place for all hosts" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("header", "prefix"), [("X-Accel-Redirect", "/outsourced-files"), ("X-Sendfile", "")]
)
def test_web_server_is_told_what_to_send(
    worker: RemoteWorker, path: str, services: Services, header: str, prefix: str
) -> None:
    folder = services.settings.storage
    object.__setattr__(services.settings, "sendfile", Sendfile(header, folder, prefix or str(folder)))
    answer = raw(worker, "GET", path, Range="bytes=5-9")
    assert (answer.status_code, answer.content) == (200, b"")
    place = answer.headers[header].removeprefix(prefix or str(folder))
    assert Path(f"{folder}{place}").read_bytes() == CONTENT
    assert answer.headers["Repr-Digest"] == dump_digest(SHA256)
    assert "filename*=UTF-8''gr" in answer.headers["Content-Disposition"]
    assert raw(worker, "GET", path, If_None_Match=TAG).status_code == 304
