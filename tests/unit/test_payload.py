"""Values as JSON text: what travels comes back equal, what cannot is refused by its path."""

from __future__ import annotations

import contextlib
import sys
from collections import OrderedDict, defaultdict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outsourced import payload
from outsourced.errors import MalformedJSON, PayloadError

plain = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
tagged = (
    st.datetimes(timezones=st.none() | st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=45))))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.binary()
)
hashable = plain | tagged
keys = st.sampled_from(["$datetime", "$dict", "$map", "$", "$x"]) | st.text()


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(keys, inner)
        | st.dictionaries(hashable, inner)
        | st.sets(hashable)
        | st.frozensets(hashable)
    )


values = st.recursive(plain | tagged, containers, max_leaves=20)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down (1 == True == 1.0 is not enough)."""
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, dict):
        return all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return all(map(same, one, other))
    return True


@given(values)
def test_encode_result_decodes_to_the_same_value(value: Any) -> None:
    assert same(payload.decode(payload.encode_result(value)), value)


@given(st.lists(values, max_size=3), st.dictionaries(keys, values, max_size=3))
def test_encode_call_decodes_to_the_same_arguments(args: list[Any], kwargs: dict[str, Any]) -> None:
    text = payload.encode_call(tuple(args), kwargs)
    for source in (text, orjson.loads(text)):
        decoded = payload.decode_call(source)
        assert same(decoded[0], args)
        assert same(decoded[1], kwargs)


@given(st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20))
def test_untag_of_any_json_gives_a_value_or_payload_error(tree: Any) -> None:
    with contextlib.suppress(PayloadError):
        payload.untag(tree)


class Shade(StrEnum):
    DARK = "dark"


class Level(IntEnum):
    HIGH = 3


class Mode(str, Enum):  # noqa: UP042 - the older kind, which prints as Mode.FAST
    FAST = "fast"


class Kind(Enum):
    A = "a"


class Loud(str):
    def __str__(self) -> str:
        return self.upper()


class LaterDate(datetime):
    """As pandas' Timestamp and freezegun's datetime: a subclass."""


class OwnUUID(UUID):
    """As that of the uuid6 package."""


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "carried"),
    [
        (Shade.DARK, "dark"),
        (Level.HIGH, 3),
        (Mode.FAST, "fast"),
        (Loud("a"), "a"),
        (Point(1, 2), (1, 2)),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(int, a=1), {"a": 1}),
        (LaterDate(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
        (OwnUUID(int=5), UUID(int=5)),
        (-0.0, -0.0),
        (2**64, 2**64),
        (-(2**63) - 1, -(2**63) - 1),
        ("\x00 \U0001f600", "\x00 \U0001f600"),
        ({1: "a", "1": "b"}, {1: "a", "1": "b"}),
        ({"$datetime": "soon"}, {"$datetime": "soon"}),
        ({"$dict": {"$dict": 1}}, {"$dict": {"$dict": 1}}),
        ({(1, 2): {date(2026, 1, 1)}}, {(1, 2): {date(2026, 1, 1)}}),
        (time(1, 2, 3, 4), time(1, 2, 3, 4)),
        (Decimal("1.10"), Decimal("1.10")),
    ],
)
def test_encode_result_carries(value: Any, carried: Any) -> None:
    assert same(payload.decode(payload.encode_result(value)), carried)


def test_encode_result_carries_integers_of_any_length() -> None:
    huge = {"n": -(10**5000), 10**5000: 1}
    assert payload.decode(payload.encode_result(huge)) == huge


@pytest.mark.parametrize(
    ("args", "kwargs", "path"),
    [
        ((1, float("nan")), {}, "args[1]"),
        ((), {"a": [0, {"b": float("inf")}]}, "kwargs['a'][1]['b']"),
        (({"k": {1, Fraction(1, 2)}},), {}, "args[0]['k']["),
        (("\ud800",), {}, "args[0]"),
        (({"\udfff": 1},), {}, "args[0] key"),
        ((1j,), {}, "args[0] is a builtins.complex"),
        ((object(),), {}, "args[0] is a builtins.object"),
        ((Kind.A,), {}, "args[0]"),
        (([lambda: None],), {}, "args[0][0] is a builtins.function"),
        ((), {1: 2}, "kwargs has the key 1"),
        ((), {"\ud800": 2}, "kwargs key"),
    ],
)
def test_encode_call_refuses_by_path(args: tuple[Any, ...], kwargs: dict[Any, Any], path: str) -> None:
    with pytest.raises(PayloadError) as refused:
        payload.encode_call(args, kwargs)
    assert str(refused.value).startswith(path)


def nested(kind: str, depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = {
            "list": [value],
            "tuple": (value,),
            "dict": {"a": value},
            "map": {1: value},
            "tag": {"$x": value},
        }[kind]
    return value


@pytest.mark.parametrize("kind", ["list", "tuple", "dict", "map", "tag"])
def test_encode_result_takes_or_refuses_any_depth(kind: str) -> None:
    deepest = 0
    for depth in range(1, 260):
        value = nested(kind, depth)
        try:
            text = payload.encode_result(value)
        except PayloadError:
            continue
        assert payload.decode(text) == value
        # a reply carries it a few levels further in
        orjson.dumps({"leases": [{"payload": {"args": [orjson.loads(text)]}}]})
        deepest = depth
    assert deepest >= 60


def test_encode_result_refuses_what_contains_itself() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(PayloadError, match="contains itself"):
        payload.encode_result(loop)


def test_encode_refuses_what_is_too_large() -> None:
    with pytest.raises(PayloadError, match="attachment="):
        payload.encode_call(("x" * payload.MAX_ARGS,), {})
    with pytest.raises(PayloadError, match="save_file"):
        payload.encode_result("x" * payload.MAX_RESULT)


@pytest.mark.parametrize("text", ["NaN", "[1e400]", '"\\ud800"', "{'a': 1}", "[1,]", "", "[" * 100_000])
def test_loads_refuses_what_is_no_json(text: str) -> None:
    with pytest.raises(MalformedJSON):
        payload.loads(text)


@pytest.mark.parametrize(
    "tree",
    [
        {"$nope": 1},
        {"$int": 1.5},
        {"$int": "ten"},
        {"$datetime": "yesterday"},
        {"$datetime": 5},
        {"$timedelta": [10**20, 0, 0]},
        {"$timedelta": None},
        {"$decimal": "much"},
        {"$uuid": 7},
        {"$bytes": "ü"},
        {"$set": [[1]]},
        {"$tuple": "abc"},
        {"$map": [[1]]},
        {"$map": [[[1], 2]]},
        {"$dict": []},
        nested("list", 300),
        nested("dict", 900),
        {"$tuple": [nested("list", 300)]},
    ],
)
def test_untag_refuses_broken_tags(tree: Any) -> None:
    with pytest.raises(PayloadError):
        payload.untag(tree)


@pytest.mark.parametrize(
    "tree", [None, [], {"args": []}, {"args": {}, "kwargs": []}, {"args": [], "kwargs": {}, "x": 1}]
)
def test_check_call_refuses_other_shapes(tree: Any) -> None:
    with pytest.raises(PayloadError, match="payload must be"):
        payload.check_call(tree)


def test_check_call_writes_the_arguments_first_whatever_came_first() -> None:
    tree = {"extras": {"a": 1}, "kwargs": {"b": 2}, "args": [3]}
    assert payload.check_call(tree) == payload.encode_call((3,), {"b": 2}, {"a": 1})


def test_check_call_takes_a_keyword_that_looks_like_a_tag() -> None:
    tree = {"args": [], "kwargs": {"$x": 1}}
    assert orjson.loads(payload.check_call(tree)) == tree


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - any kind is tested
        return caught


def test_describe_failure_tells_type_message_traceback_and_causes() -> None:
    try:
        try:
            raise KeyError("a")
        except KeyError as inner:
            raise ValueError("no a") from inner
    except ValueError as error:
        failure = payload.describe_failure(error)
    assert (failure.type, failure.message) == ("ValueError", "no a")
    assert "raise KeyError" in failure.traceback
    assert failure.causes == (("KeyError", "'a'"),)


def test_describe_failure_leaves_out_what_databases_refuse() -> None:
    failure = payload.describe_failure(raised(ValueError("a\x00b\ud800")))
    assert failure.message == "a\\x00b\\ud800"
    assert "\x00" not in failure.traceback


def test_describe_failure_survives_hostile_exceptions() -> None:
    failure = payload.describe_failure(raised(Broken()))
    assert failure.type.endswith("Broken")
    assert "RuntimeError" in failure.message


def test_describe_failure_shortens_without_losing_the_ends() -> None:
    failure = payload.describe_failure(raised(ValueError("x" * 300_000 + "end")))
    assert len(failure.message) == payload.MAX_MESSAGE
    assert len(failure.traceback) < payload.MAX_TRACEBACK + 100
    assert failure.traceback.startswith("Traceback")
    assert failure.traceback.endswith("end\n")


def test_describe_failure_ends_where_causes_go_in_circles() -> None:
    one, two = ValueError("1"), ValueError("2")
    one.__cause__, two.__cause__ = two, one
    assert payload.describe_failure(one).causes == (("ValueError", "2"),)


def test_describe_failure_shows_endless_recursion() -> None:
    def again() -> None:
        again()

    try:
        again()
    except RecursionError as error:
        failure = payload.describe_failure(error)
    assert failure.type == "RecursionError"
    assert len(failure.traceback) < 10 * sys.getrecursionlimit()
