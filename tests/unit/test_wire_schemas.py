"""The schemas and the codec are of one opinion about every message, made by hand or by hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import orjson
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError

from outsourced.errors import InvalidRequest
from outsourced.records import CommandKind, ExchangeReply, ExchangeRequest
from outsourced.wire import dump_exchange, dump_reply, load_exchange, load_reply
from outsourced.wire.schemas import ExchangeReplySchema, ExchangeRequestSchema
from tests.unit.messages import a_reply, a_reply_tree, a_request, a_request_tree

#: values that are right in some places, nearly right in others, and wrong in most
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**63), max_value=2**64 - 1),
    st.sampled_from([0, 1, 60, 61, 1000, 1001, 2**31 - 1, 2**31, 1.0, 0.5, -0.5, 3.2e9]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from(["", "a" * 255, "a" * 256, "completed", "retry", "recorded", "cancel", "a\0b"]),
    st.builds(lambda: str(uuid4())),
    st.builds(lambda: uuid4().hex),
    st.lists(st.one_of(st.none(), st.integers(-5, 5), st.text(max_size=3)), max_size=3),
    st.dictionaries(st.sampled_from(["id", "type", "args", "x"]), st.integers(-5, 5), max_size=3),
)
ABSENT = object()


@st.composite
def spoilt(draw: st.DrawFn, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A good message with up to three of its members replaced or left out, at any depth."""
    tree = make()
    for _ in range(draw(st.integers(0, 3))):
        container, key = draw(st.sampled_from(list(_places(tree))))
        value = draw(st.one_of(st.just(ABSENT), ODD))
        if value is not ABSENT:
            container[key] = value
        elif isinstance(container, dict):
            del container[key]
    return tree


def _places(tree: Any) -> list[tuple[Any, Any]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    places = []
    for key, value in items:
        places.append((tree, key))
        places += _places(value)
    return places


def _has_unknown_command(tree: dict[str, Any]) -> bool:
    commands = tree.get("commands")
    if not isinstance(commands, list):
        return False
    kinds = [command.get("kind") for command in commands if isinstance(command, dict)]
    return any(isinstance(kind, str) and kind not in set(CommandKind) for kind in kinds)


def accepts(load: Callable[[bytes], Any], body: bytes) -> str:
    try:
        load(body)
    except InvalidRequest as error:
        return f"no: {error}"
    return "yes"


def validates(schema: Schema, body: bytes) -> str:
    try:
        schema.load(orjson.loads(body))
    except ValidationError as error:
        return f"no: {error}"
    return "yes"


@settings(max_examples=150, deadline=None)
@given(spoilt(a_request_tree))
def test_codec_and_schema_agree_on_requests(tree: dict[str, Any]) -> None:
    body = orjson.dumps(tree)
    ours, theirs = accepts(load_exchange, body), validates(ExchangeRequestSchema(), body)
    assert ours[:2] == theirs[:2], (ours, theirs)


@settings(max_examples=150, deadline=None)
@given(spoilt(a_reply_tree))
def test_codec_and_schema_agree_on_replies(tree: dict[str, Any]) -> None:
    assume(not _has_unknown_command(tree))  # see test_load_reply_ignores_what_newer_servers_may_send
    body = orjson.dumps(tree)
    ours, theirs = accepts(load_reply, body), validates(ExchangeReplySchema(), body)
    assert ours[:2] == theirs[:2], (ours, theirs)


def test_schemas_accept_what_the_codec_writes() -> None:
    empty = ExchangeRequest(instance=a_request().instance)
    for request in (a_request(), empty):
        ExchangeRequestSchema().load(orjson.loads(dump_exchange(request)))
    for reply in (a_reply(), ExchangeReply()):
        ExchangeReplySchema().load(orjson.loads(dump_reply(reply)))


def test_schemas_describe_every_member_the_codec_writes() -> None:
    request = orjson.loads(dump_exchange(a_request()))
    assert request.keys() == ExchangeRequestSchema().fields.keys()
    reply = orjson.loads(dump_reply(a_reply()))
    assert reply.keys() == ExchangeReplySchema().fields.keys()
    lease_schema = ExchangeReplySchema().fields["leases"].inner.schema  # type: ignore[attr-defined]
    assert {name for lease in reply["leases"] for name in lease} == lease_schema.fields.keys()


@given(st.binary(max_size=200))
def test_load_exchange_raises_nothing_else_on_noise(body: bytes) -> None:
    assert accepts(load_exchange, body).startswith("no")
