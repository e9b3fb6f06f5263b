"""HttpConsumer: exchanges as records, and files that arrive whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from outsourced.backend import Consumer
from outsourced.errors import BackendUnavailable, DigestMismatch, InvalidRequest, LeaseLost, NotFound
from outsourced.http.backend import HttpConsumer
from outsourced.http.token import KeyProof
from outsourced.http.transport import Transport
from outsourced.records import Lease, StoredFile
from outsourced.wire import dump_reply, load_exchange
from tests.unit.messages import a_reply, a_request, an_id
from tests.unit.standin import Answer, StandIn, problem, served

KEY = ECKey.generate_key("P-256")
CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LEASE = Lease(
    id=an_id(1),
    job_id=an_id(2),
    task="t",
    payload={"args": [], "kwargs": {}},
    queue="q",
    attempt=1,
    failures=0,
    max_retries=3,
    ttl=60.0,
    attachment=StoredFile(name="a.bin", size=len(CONTENT), sha256=SHA256, content_type="x/y"),
)
BARE = Lease(id=an_id(1), job_id=an_id(2), task="t", payload={}, queue="q", attempt=1, failures=0,
             max_retries=3, ttl=60.0)  # fmt: skip


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with served(StandIn(public_key=KEY, audience="a")) as standin:
        yield standin


@pytest.fixture(params=[False, True], ids=["put", "override"])
def method_override(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def connect(standin: StandIn, *, method_override: bool = False) -> HttpConsumer:
    transport = Transport(
        standin.url,
        client_id="w",
        proof=KeyProof(key_id="k", private_key=KEY.as_pem(private=True).decode(), audience="a"),
        method_override=method_override,
        timeout=(2.0, 2.0),
    )
    return HttpConsumer(transport, pauses=(0.0, 0.0))


@pytest.fixture
def consumer(standin: StandIn) -> Iterator[Consumer]:
    consumer = connect(standin)
    yield consumer
    consumer.close()


def a_file_answer(name: str, status: int = 201) -> Answer:
    file = {"name": name, "size": len(CONTENT), "sha256": SHA256, "content_type": "text/plain"}
    return Answer(status, json.dumps(file).encode())


def test_exchange_sends_the_request_and_reads_the_reply(consumer: Consumer, standin: StandIn) -> None:
    standin.answers.append(Answer(body=dump_reply(a_reply())))
    reply = consumer.exchange(a_request())
    assert [lease.id for lease in reply.leases] == [an_id(11), an_id(13)]
    assert load_exchange(standin.calls[0].body).claim_id == a_request().claim_id


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"leases": [1]}'])
def test_exchange_takes_an_unreadable_reply_as_unavailable(
    consumer: Consumer, standin: StandIn, body: bytes
) -> None:
    standin.answers.append(Answer(body=body))
    with pytest.raises(BackendUnavailable, match="cannot be read"):
        consumer.exchange(a_request())


def test_fetch_attachment_writes_the_verified_bytes(
    consumer: Consumer, standin: StandIn, tmp_path: Path
) -> None:
    standin.answers.append(Answer(body=CONTENT, content_type="x/y"))
    consumer.fetch_attachment(LEASE, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert standin.calls[0].path == f"/outsourced/v1/leases/{LEASE.id}/attachment"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_fetch_attachment_tries_again_after_what_the_net_did(
    consumer: Consumer, standin: StandIn, tmp_path: Path
) -> None:
    standin.answers.append(Answer(body=CONTENT, cut=1000))
    standin.answers.append(Answer(body=b"x" + CONTENT[1:]))
    standin.answers.append(Answer(body=CONTENT))
    consumer.fetch_attachment(LEASE, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def ranged(start: int, **options: int) -> Answer:
    """The rest of the file."""
    headers = {"Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}", "ETag": '"one"'}
    return Answer(206, CONTENT[start:], headers=headers, **options)


def test_fetch_attachment_goes_on_where_it_broke_off(
    consumer: Consumer, standin: StandIn, tmp_path: Path
) -> None:
    standin.answers.append(Answer(body=CONTENT, headers={"ETag": '"one"'}, cut=327_680))
    standin.answers.append(Answer(503))
    standin.answers.append(ranged(327_680, cut=327_680))
    standin.answers.extend(
        [Answer(503), ranged(655_360)]
    )  # more tries than there are pauses: each brought some
    consumer.fetch_attachment(LEASE, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    asked = [(call.headers["Range"], call.headers["If-Range"]) for call in standin.calls]
    assert asked == [
        (None, None),
        ("bytes=327680-", '"one"'),
        ("bytes=327680-", '"one"'),
        ("bytes=655360-", '"one"'),
        ("bytes=655360-", '"one"'),
    ]


def test_fetch_attachment_begins_again_where_the_whole_comes(
    consumer: Consumer, standin: StandIn, tmp_path: Path
) -> None:
    standin.answers.append(Answer(body=b"y" * len(CONTENT), headers={"ETag": '"one"'}, cut=327_680))
    standin.answers.append(Answer(body=CONTENT, headers={"ETag": '"two"'}))
    consumer.fetch_attachment(LEASE, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("tag", [{}, {"ETag": 'W/"one"'}])
def test_fetch_attachment_asks_for_the_rest_of_nothing_it_cannot_name(
    consumer: Consumer, standin: StandIn, tmp_path: Path, tag: dict[str, str]
) -> None:
    standin.answers.extend([Answer(body=CONTENT, headers=tag, cut=327_680), Answer(body=CONTENT)])
    consumer.fetch_attachment(LEASE, tmp_path / "a.bin")
    assert standin.calls[1].headers["Range"] is None


def test_fetch_attachment_fetches_anew_what_was_put_together_wrongly(
    consumer: Consumer, standin: StandIn, tmp_path: Path
) -> None:
    standin.answers.append(Answer(body=b"y" * len(CONTENT), headers={"ETag": '"one"'}, cut=327_680))
    standin.answers.extend([ranged(327_680), Answer(body=CONTENT)])
    consumer.fetch_attachment(LEASE, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert standin.calls[2].headers["Range"] is None


def test_fetch_attachment_takes_no_other_part_than_it_asked_for(
    consumer: Consumer, standin: StandIn, tmp_path: Path
) -> None:
    standin.answers.append(Answer(body=CONTENT, headers={"ETag": '"one"'}, cut=327_680))
    standin.answers.extend([ranged(5), ranged(5)])
    with pytest.raises(BackendUnavailable, match="was asked for bytes 327680-"):
        consumer.fetch_attachment(LEASE, tmp_path / "a.bin")


def test_fetch_attachment_leaves_nothing_behind_when_it_fails(
    consumer: Consumer, standin: StandIn, tmp_path: Path
) -> None:
    standin.answers.extend([Answer(body=CONTENT[:-1])] * 3)
    with pytest.raises(DigestMismatch):
        consumer.fetch_attachment(LEASE, tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []


def test_fetch_attachment_of_a_lost_lease_is_not_tried_again(
    consumer: Consumer, standin: StandIn, tmp_path: Path
) -> None:
    standin.answers.append(problem(409, "lease_lost"))
    with pytest.raises(LeaseLost):
        consumer.fetch_attachment(LEASE, tmp_path / "a.bin")
    assert len(standin.calls) == 1


def test_fetch_attachment_without_one_asks_nobody(
    consumer: Consumer, standin: StandIn, tmp_path: Path
) -> None:
    with pytest.raises(NotFound):
        consumer.fetch_attachment(BARE, tmp_path / "a.bin")
    assert standin.seen == []


def test_save_file_sends_the_bytes_with_their_digest(
    standin: StandIn, tmp_path: Path, method_override: bool
) -> None:
    source = tmp_path / "out.txt"
    source.write_bytes(CONTENT)
    consumer = connect(standin, method_override=method_override)
    standin.answers.append(a_file_answer("größe 1.txt"))

    saved = consumer.save_file(LEASE, "größe 1.txt", source, "text/plain")
    consumer.close()

    assert saved == StoredFile(
        name="größe 1.txt", size=len(CONTENT), sha256=SHA256, content_type="text/plain"
    )
    (call,) = standin.calls
    assert call.method == ("POST" if method_override else "PUT")
    assert call.headers["X-HTTP-Method-Override"] == ("PUT" if method_override else None)
    assert call.path == f"/outsourced/v1/leases/{LEASE.id}/files/gr%C3%B6%C3%9Fe%201.txt"
    assert call.body == CONTENT
    assert call.headers["Content-Type"] == "text/plain"
    assert call.headers["Repr-Digest"].startswith("sha-256=:")


def test_save_file_sends_everything_again_after_a_failure(
    consumer: Consumer, standin: StandIn, tmp_path: Path
) -> None:
    source = tmp_path / "out.txt"
    source.write_bytes(CONTENT)
    standin.answers.extend([problem(401, "invalid_token"), Answer(drop=True), a_file_answer("out.txt", 200)])
    consumer.save_file(LEASE, "out.txt", source, "text/plain")
    assert [call.body for call in standin.calls] == [CONTENT] * 3


def test_save_file_sends_an_empty_file(consumer: Consumer, standin: StandIn, tmp_path: Path) -> None:
    source = tmp_path / "empty"
    source.touch()
    standin.answers.append(a_file_answer("empty"))
    consumer.save_file(LEASE, "empty", source, "text/plain")
    assert standin.calls[0].headers["Content-Length"] == "0"
    assert standin.calls[0].headers["Transfer-Encoding"] is None


def test_save_file_refuses_a_name_that_leaves_its_folder(
    consumer: Consumer, standin: StandIn, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest):
        consumer.save_file(LEASE, "..", tmp_path / "x", "text/plain")
    assert standin.seen == []
