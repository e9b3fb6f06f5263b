"""The codec of the exchange: what goes in comes out, and what is wrong is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
import pytest

from outsourced.errors import InvalidRequest, MalformedJSON
from outsourced.records import ExchangeRequest, Outcome, OutcomeKind
from outsourced.wire import dump_exchange, dump_reply, load_exchange, load_reply
from outsourced.wire.reading import MAX_SECONDS
from tests.unit.messages import a_reply, a_reply_tree, a_request, a_request_tree, an_id

TOLERANCE = 0.5  # seconds a round trip through JSON may take


def load(tree: Any) -> ExchangeRequest:
    return load_exchange(orjson.dumps(tree))


def test_load_exchange_gives_what_was_dumped() -> None:
    said = a_request()
    heard = load_exchange(dump_exchange(said))

    assert replace(heard, held=None, begun=(), outcomes=()) == replace(said, held=None, begun=(), outcomes=())
    assert heard.held is not None
    assert said.held is not None
    assert [(one.lease_id, one.job_id) for one in heard.held] == [
        (one.lease_id, one.job_id) for one in said.held
    ]
    assert heard.held[0].begun_at is None
    assert heard.held[1].begun_at == pytest.approx(said.held[1].begun_at, abs=TOLERANCE)
    assert heard.begun[0].begun_at == pytest.approx(said.begun[0].begun_at, abs=TOLERANCE)
    for ours, theirs in zip(heard.outcomes, said.outcomes, strict=True):
        assert replace(ours, ended_at=0) == replace(theirs, ended_at=0)
        assert ours.ended_at == pytest.approx(theirs.ended_at, abs=TOLERANCE)


def test_dump_exchange_leaves_out_what_is_none() -> None:
    request = ExchangeRequest(
        instance=a_request().instance,
        outcomes=(Outcome(lease_id=an_id(1), job_id=an_id(2), kind=OutcomeKind.RELEASED),),
    )
    tree = json.loads(dump_exchange(request))

    assert "claim_id" not in tree
    assert "held" not in tree
    assert tree["outcomes"][0].keys() == {"lease_id", "job_id", "kind", "ended_ago"}


def test_load_exchange_tells_a_heartbeat_without_leases_from_no_heartbeat() -> None:
    tree = a_request_tree()
    assert load(tree | {"held": []}).held == ()
    assert load(tree | {"held": None}).held is None


def test_load_exchange_tells_a_null_result_from_none() -> None:
    tree = a_request_tree()
    tree["outcomes"][0]["result"] = None
    assert load(tree).outcomes[0].result == "null"

    del tree["outcomes"][0]["result"]
    assert load(tree).outcomes[0].result is None


def test_load_exchange_keeps_texts_storable() -> None:
    tree = a_request_tree()
    tree["outcomes"][0]["reason"] = "a\0b"
    assert load(tree).outcomes[0].reason == "a\ufffdb"


def test_load_exchange_reads_json_written_by_others() -> None:
    heard = load_exchange(json.dumps(a_request_tree(), indent=3, ensure_ascii=True).encode())
    assert heard.outcomes[0].kind is OutcomeKind.FAILED


def test_load_exchange_ignores_members_it_does_not_know() -> None:
    tree = a_request_tree() | {"colour": "green"}
    tree["outcomes"][0]["mood"] = ["good"]
    assert load(tree).slots == 10


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"slots": NaN}',
        b'{"wait": Infinity}',
        b'{"wait": 1e400}',
        b'{"tasks": ["\\ud800"]}',
        b'{"slots": 0, "slots": 1}',
        b'{"instance": {"id": 1, "id": 2}}',
        b'{"slots": 123456789012345678901234567890}',
        b'{"slots": ' + b"9" * 5000 + b"}",
        b'{"outcomes": ' + b"[" * 1200 + b"]" * 1200 + b"}",
    ],
    ids=lambda body: body[:30].decode("latin-1"),
)
def test_load_exchange_refuses_what_is_not_json(body: bytes) -> None:
    with pytest.raises(MalformedJSON):
        load_exchange(body)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda tree: tree.pop("instance"), "instance"),
        (lambda tree: tree.update(instance=[]), "instance"),
        (lambda tree: tree["instance"].update(id="1"), "instance.id"),
        (lambda tree: tree["instance"].update(host=""), "instance.host"),
        (lambda tree: tree["instance"].update(host="h" * 256), "instance.host"),
        (lambda tree: tree["instance"].update(host="a\0b"), "instance.host"),
        (lambda tree: tree["instance"].update(pid=-1), "instance.pid"),
        (lambda tree: tree["instance"].update(pid=2**31), "instance.pid"),
        (lambda tree: tree["instance"].update(version=None), "instance.version"),
        (lambda tree: tree.update(slots=True), "slots"),
        (lambda tree: tree.update(slots=1.0), "slots"),
        (lambda tree: tree.update(slots=1001), "slots"),
        (lambda tree: tree.update(slots=0), "claim_id"),
        (lambda tree: tree.pop("claim_id"), "claim_id"),
        (lambda tree: tree.update(claim_id=5), "claim_id"),
        (lambda tree: tree.update(wait=-0.1), "wait"),
        (lambda tree: tree.update(wait=60.1), "wait"),
        (lambda tree: tree.update(wait="1"), "wait"),
        (lambda tree: tree.update(tasks={}), "tasks"),
        (lambda tree: tree.update(tasks=["a"] * 5001), "tasks"),
        (lambda tree: tree.update(tasks=["a", ""]), "tasks[1]"),
        (lambda tree: tree.update(tasks=["a" * 256]), "tasks[0]"),
        (lambda tree: tree.update(begun=[3]), "begun[0]"),
        (lambda tree: tree["begun"][0].update(begun_ago=-1), "begun[0].begun_ago"),
        (lambda tree: tree["held"][0].pop("job_id"), "held[0].job_id"),
        (lambda tree: tree["held"].append(tree["held"][0]), "held[1].lease_id"),
        (lambda tree: tree["outcomes"].append(tree["outcomes"][0]), "outcomes[1].lease_id"),
        (lambda tree: tree["outcomes"][0].update(kind="done"), "outcomes[0].kind"),
        (lambda tree: tree["outcomes"][0].update(kind=["failed"]), "outcomes[0].kind"),
        (lambda tree: tree["outcomes"][0].update(delay=MAX_SECONDS + 1), "outcomes[0].delay"),
        (lambda tree: tree["outcomes"][0].update(ran_for=False), "outcomes[0].ran_for"),
        (lambda tree: tree["outcomes"][0].update(max_retries=-1), "outcomes[0].max_retries"),
        (lambda tree: tree["outcomes"][0].update(reason=1), "outcomes[0].reason"),
        (lambda tree: tree["outcomes"][0].update(error="boom"), "outcomes[0].error"),
        (lambda tree: tree["outcomes"][0]["error"].pop("type"), "outcomes[0].error.type"),
        (lambda tree: tree["outcomes"][0]["error"].update(causes=[["a"]]), "outcomes[0].error.causes[0]"),
        (lambda tree: tree["outcomes"][0].update(result="x" * 1024 * 1024), "outcomes[0].result"),
    ],
)
def test_load_exchange_names_what_is_wrong(change: Callable[[Any], Any], path: str) -> None:
    tree = a_request_tree()
    change(tree)
    with pytest.raises(InvalidRequest) as caught:
        load(tree)
    assert caught.value.path == path
    assert str(caught.value).startswith(path)


@pytest.mark.parametrize("tree", [None, [], "text", 5, True])
def test_load_exchange_refuses_what_is_no_object(tree: Any) -> None:
    with pytest.raises(InvalidRequest, match="the message must be an object"):
        load(tree)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0190a6f27d3c7a518d1e3b5f0c9a4e27",
        "{0190a6f2-7d3c-7a51-8d1e-3b5f0c9a4e27}",
        "0190a6f2-7d3c-7a51-8d1e-3b5f0c9a4e2g",
        "0190a6f2-7d3c-7a51-8d1e-3b5f0c9a4e 7",
        "0190a6f2-7d3c-7a51-8d1e-3b5f0c9a4-27",
        "0190a6f27-d3c-7a51-8d1e-3b5f0c9a4e27",
        "0190a6f2-7d3c-7a51-8d1e-3b5f0c9a4e٣٣",
        "+190a6f2-7d3c-7a51-8d1e-3b5f0c9a4e27",
    ],
)
def test_load_exchange_takes_ids_in_one_form_only(text: str) -> None:
    tree = a_request_tree()
    tree["claim_id"] = text
    with pytest.raises(InvalidRequest, match="claim_id must be an id"):
        load(tree)


def test_load_exchange_reads_ids_as_uuid_does() -> None:
    tree = a_request_tree()
    for text in (str(uuid4()), str(uuid4()).upper()):
        tree["claim_id"] = text
        claim_id = load(tree).claim_id
        assert claim_id is not None
        assert str(claim_id) == text.lower()
        assert claim_id.is_safe.name == "unknown"


def test_load_reply_gives_what_was_dumped() -> None:
    reply = a_reply()
    first, second = reply.leases
    expected = replace(
        reply,
        leases=(
            replace(first, payload={"args": [1, "é"], "kwargs": {"k": None}}),
            replace(second, payload={"args": [], "kwargs": {}}),
        ),
    )
    assert load_reply(dump_reply(reply)) == expected


def test_load_reply_ignores_what_newer_servers_may_send() -> None:
    tree = a_reply_tree()
    tree["commands"].append({"kind": "shut_down", "colour": "red"})
    reply = load_reply(orjson.dumps(tree | {"mood": 1}))
    assert [command.kind for command in reply.commands] == ["cancel"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda tree: tree.update(leases=5), "leases"),
        (lambda tree: tree["leases"][0].pop("task"), "leases[0].task"),
        (lambda tree: tree["leases"][0].update(payload=[]), "leases[0].payload"),
        (lambda tree: tree["leases"][0].update(payload={"args": []}), "leases[0].payload"),
        (lambda tree: tree["leases"][0].update(ttl=None), "leases[0].ttl"),
        (lambda tree: tree["leases"][0].update(confirm=1), "leases[0].confirm"),
        (lambda tree: tree["leases"][0]["attachment"].update(size=-1), "leases[0].attachment.size"),
        (lambda tree: tree["settled"][0].update(status="odd"), "settled[0].status"),
        (lambda tree: tree["commands"][0].pop("lease_id"), "commands[0].lease_id"),
        (lambda tree: tree.update(retry_after="soon"), "retry_after"),
    ],
)
def test_load_reply_names_what_is_wrong(change: Callable[[Any], Any], path: str) -> None:
    tree = a_reply_tree()
    change(tree)
    with pytest.raises(InvalidRequest) as caught:
        load_reply(orjson.dumps(tree))
    assert caught.value.path == path
