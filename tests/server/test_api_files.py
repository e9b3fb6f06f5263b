"""Files under a lease, against a real server: down and up, verified, and only for who holds the lease."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests

from outsourced.errors import InvalidRequest, LeaseLost, NotFound, TooLarge
from outsourced.records import Lease, NewFile, Outcome, OutcomeKind, StoredFile
from outsourced.server.services import Services
from outsourced.wire.headers import dump_digest
from tests.server.conftest import Colleague
from tests.server.loopback import RemoteWorker, enqueue, on_one_database

CONTENT = random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def lease(worker: RemoteWorker, services: Services) -> Lease:
    """A lease on a job with an attachment."""
    attachment = NewFile(
        open=lambda: io.BytesIO(CONTENT), filename="größe “1”.bin", content_type="application/x-thing"
    )
    enqueue(services, attachment=attachment)
    (lease,) = worker.consumer.exchange(worker.request(slots=1)).leases
    return lease


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "result"
    path.write_bytes(CONTENT)
    return path


def stored_files(services: Services) -> int:
    return sum(path.is_file() for path in services.settings.storage.rglob("*"))


def headers_of(worker: RemoteWorker) -> dict[str, str]:
    token = worker.transport._session.token["access_token"]
    return {"Outsourced-Protocol": "1", "Authorization": f"Bearer {token}"}


def raw(worker: RemoteWorker, method: str, path: str, body: bytes = b"", **headers: str) -> requests.Response:
    fields = headers_of(worker) | {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(method, worker.transport.url + path, data=body, headers=fields, timeout=10)


def test_fetch_attachment_brings_it_whole(worker: RemoteWorker, lease: Lease, tmp_path: Path) -> None:
    assert lease.attachment == StoredFile(
        name="größe “1”.bin", size=len(CONTENT), sha256=SHA256, content_type="application/x-thing"
    )
    worker.consumer.fetch_attachment(lease, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


@on_one_database
def test_attachment_is_described_by_its_headers(worker: RemoteWorker, lease: Lease) -> None:
    answer = raw(worker, "GET", f"/v1/leases/{lease.id}/attachment")
    assert answer.headers["Repr-Digest"] == dump_digest(SHA256)
    assert answer.headers["Content-Type"] == "application/x-thing"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename")
    assert "filename*=UTF-8''gr%C3%B6%C3%9Fe" in answer.headers["Content-Disposition"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@on_one_database
def test_attachment_comes_in_ranges(worker: RemoteWorker, lease: Lease) -> None:
    path = f"/v1/leases/{lease.id}/attachment"
    answer = raw(worker, "GET", path, Range="bytes=1000000-")
    assert (answer.status_code, answer.content) == (206, CONTENT[1_000_000:])


def test_save_file_keeps_it(worker: RemoteWorker, lease: Lease, source: Path, services: Services) -> None:
    saved = worker.consumer.save_file(lease, "größe 1.txt", source, "text/plain; charset=utf-8")
    assert saved == StoredFile(
        name="größe 1.txt", size=len(CONTENT), sha256=SHA256, content_type="text/plain; charset=utf-8"
    )
    with services.backend.open_file(lease.job_id, "größe 1.txt") as file:
        assert file.read() == CONTENT


def test_save_file_again_says_the_same(worker: RemoteWorker, lease: Lease, services: Services) -> None:
    path, digest = f"/v1/leases/{lease.id}/files/a.txt", dump_digest(hashlib.sha256(b"abc").hexdigest())
    first = raw(worker, "PUT", path, b"abc", Repr_Digest=digest, Content_Type="text/plain")
    kept = stored_files(services)
    second = raw(worker, "PUT", path, b"abc", Repr_Digest=digest, Content_Type="text/plain")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert stored_files(services) == kept


@on_one_database
def test_save_file_gets_through_a_filter_that_stops_put(
    phill: Colleague, url: str, worker: RemoteWorker, lease: Lease, source: Path
) -> None:
    filtered = RemoteWorker(phill, url, method_override=True)
    assert filtered.consumer.save_file(lease, "a", source, "text/plain").sha256 == SHA256
    filtered.consumer.close()


@on_one_database
def test_save_file_takes_an_empty_one(
    worker: RemoteWorker, lease: Lease, tmp_path: Path, services: Services
) -> None:
    (tmp_path / "empty").touch()
    assert worker.consumer.save_file(lease, "empty", tmp_path / "empty", "text/plain").size == 0


@on_one_database
@pytest.mark.parametrize(
    ("digest", "status", "code"),
    [
        ("", 422, "invalid_request"),
        ("sha-512=:YWJj:", 422, "invalid_request"),
        (dump_digest(SHA256), 422, "digest_mismatch"),
    ],
)
def test_save_file_refuses_bytes_that_do_not_fit_their_digest(
    worker: RemoteWorker, lease: Lease, services: Services, digest: str, status: int, code: str
) -> None:
    kept = stored_files(services)
    answer = raw(worker, "PUT", f"/v1/leases/{lease.id}/files/a.txt", b"abc", Repr_Digest=digest)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert stored_files(services) == kept


@on_one_database
def test_save_file_refuses_one_too_large(
    worker: RemoteWorker, lease: Lease, source: Path, services: Services
) -> None:
    kept = stored_files(services)
    object.__setattr__(services.settings, "max_attachment", 1000)
    with pytest.raises(TooLarge, match="1,000 bytes.*its OUTSOURCED_MAX_ATTACHMENT") as caught:
        worker.consumer.save_file(lease, "a", source, "text/plain")
    assert (caught.value.limit, caught.value.setting) == (1000, "OUTSOURCED_MAX_ATTACHMENT")
    assert stored_files(services) == kept


@on_one_database
def test_save_file_without_a_length_is_bounded_too(
    worker: RemoteWorker, lease: Lease, services: Services
) -> None:
    kept = stored_files(services)
    object.__setattr__(services.settings, "max_attachment", 1000)
    path = f"{worker.transport.url}/v1/leases/{lease.id}/files/a"
    headers = headers_of(worker) | {"Repr-Digest": dump_digest(SHA256)}
    answer = requests.put(path, data=iter([CONTENT[:900], CONTENT[:900]]), headers=headers, timeout=10)
    assert (answer.status_code, answer.json()["setting"]) == (413, "OUTSOURCED_MAX_ATTACHMENT")
    assert stored_files(services) == kept


@on_one_database
def test_other_bodies_say_whose_limit_they_meet(
    worker: RemoteWorker, lease: Lease, services: Services
) -> None:
    object.__setattr__(services.settings, "max_body", 1000)
    answer = raw(worker, "POST", "/v1/leases", b" " * 1001, Content_Type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert "1,000 bytes" in answer.json()["detail"]
    assert "its OUTSOURCED_MAX_BODY" in answer.json()["detail"]


@on_one_database
def test_save_file_may_be_larger_than_other_bodies(
    worker: RemoteWorker, lease: Lease, source: Path, services: Services
) -> None:
    object.__setattr__(services.settings, "max_body", 1000)
    assert worker.consumer.save_file(lease, "a", source, "text/plain").size == len(CONTENT)


def test_files_of_an_ended_lease_are_refused(
    worker: RemoteWorker, lease: Lease, source: Path, services: Services, tmp_path: Path
) -> None:
    outcome = Outcome(lease_id=lease.id, job_id=lease.job_id, kind=OutcomeKind.COMPLETED, ran_for=0.1)
    worker.consumer.exchange(worker.request(outcomes=(outcome,)))
    kept = stored_files(services)
    with pytest.raises(LeaseLost):
        worker.consumer.save_file(lease, "a", source, "text/plain")
    with pytest.raises(LeaseLost):
        worker.consumer.fetch_attachment(lease, tmp_path / "a")
    assert stored_files(services) == kept


@on_one_database
def test_save_file_without_a_lease_is_refused_before_the_bytes_come(
    worker: RemoteWorker, lease: Lease, url: str
) -> None:
    parts = urlsplit(url)
    with closing(HTTPConnection(parts.netloc, timeout=10)) as connection:
        connection.putrequest("PUT", f"{parts.path}/v1/leases/{uuid4()}/files/a")
        for name, value in (headers_of(worker) | {"Repr-Digest": dump_digest(SHA256)}).items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", "1000000")
        connection.endheaders()
        assert connection.getresponse().status == 404  # and not one byte was sent


def test_files_of_another_workers_lease_are_not_found(
    worker: RemoteWorker,
    lease: Lease,
    source: Path,
    tmp_path: Path,
    url: str,
    enrol: Callable[[str], Colleague],
    services: Services,
) -> None:
    other = RemoteWorker(enrol("mallory"), url)
    kept = stored_files(services)
    for theirs in (lease, replace(lease, id=uuid4())):
        with pytest.raises(NotFound):
            other.consumer.fetch_attachment(theirs, tmp_path / "a")
        with pytest.raises(NotFound):
            other.consumer.save_file(theirs, "a", source, "text/plain")
    other.consumer.close()
    assert stored_files(services) == kept


@on_one_database
def test_a_post_without_override_is_no_put(worker: RemoteWorker, lease: Lease) -> None:
    answer = raw(worker, "POST", f"/v1/leases/{lease.id}/files/a", b"abc")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "PUT")


@on_one_database
@pytest.mark.parametrize("name", ["a%0Ab", "a%5Cb", "%E2%80%AEtxt"])
def test_save_file_refuses_names_no_file_has(worker: RemoteWorker, lease: Lease, name: str) -> None:
    digest = dump_digest(hashlib.sha256(b"").hexdigest())
    answer = raw(worker, "PUT", f"/v1/leases/{lease.id}/files/{name}", Repr_Digest=digest)
    assert (answer.status_code, answer.json()["code"]) == (422, InvalidRequest.code)
