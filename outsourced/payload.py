"""Arguments, results and errors as JSON text, with tags for the types JSON lacks.

A value of another type travels as an object of one member whose name starts with `$`:
`{"$datetime": "2026-01-31T12:00:00+00:00"}`. An application's own object that would read as a
tag travels inside `{"$dict": …}`. Whatever cannot be carried faithfully is refused with the path
of the offending value: never truncated, never coerced, never pickled.
"""

from __future__ import annotations

import base64
import math
import traceback as tracebacks
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from outsourced.errors import MalformedJSON, PayloadError
from outsourced.records import FailedJob, Failure, JsonText, Withheld

#: arguments and keyword arguments of one job, in bytes of JSON
MAX_ARGS = 256 * 1024
#: the result of one job, in bytes of JSON
MAX_RESULT = 1024 * 1024
#: what goes with a task's own state, in bytes of JSON
MAX_META = 64 * 1024
#: characters kept of a traceback: its two ends
MAX_TRACEBACK = 100_000
#: characters kept of an exception's message
MAX_MESSAGE = 10_000
#: characters kept of an exception's type
MAX_TYPE = 500
#: exceptions kept of a chain of causes
MAX_CAUSES = 20
#: nesting, counted in JSON's containers: orjson writes no more than 254, and a message adds some
MAX_DEPTH = 200
#: containers that the tag of one value may add
_TAG_DEPTH = 3

_INT64 = range(-(2**63), 2**64)

#: datetime before date, whose subclass it is
_ENCODERS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    datetime: ("$datetime", datetime.isoformat),
    date: ("$date", date.isoformat),
    time: ("$time", time.isoformat),
    timedelta: ("$timedelta", lambda v: [v.days, v.seconds, v.microseconds]),
    Decimal: ("$decimal", str),
    UUID: ("$uuid", str),
    bytes: ("$bytes", lambda v: base64.b64encode(v).decode()),
}

#: whose content is plain JSON
_SCALARS: dict[str, Callable[[Any], Any]] = {
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$timedelta": lambda v: timedelta(*v),
    "$decimal": lambda v: Decimal(_expect(v, str)),
    "$uuid": UUID,
    "$bytes": lambda v: base64.b64decode(v, validate=True),
    "$int": lambda v: int(_expect(v, str), 16),
}

#: whose content is values again
_SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {"$tuple": tuple, "$set": set, "$frozenset": frozenset}

#: what a subclass is reduced to: named tuples, defaultdicts, … as json.dumps has it
_BARE: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    list: list,
    tuple: tuple,
    dict: dict,
}


class DecodedCall(NamedTuple):
    """What a job calls its task with."""

    args: list[Any]
    kwargs: dict[str, Any]
    extras: dict[str, Any]  #: what its producer says about running it: `calls.Extras`


def encode_call(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], extras: Mapping[str, Any] | None = None
) -> str:
    """The arguments of a job as JSON text; raises PayloadError with the path of what does not fit."""
    tree: dict[str, Any] = {
        "args": [tag(value, f"args[{i}]") for i, value in enumerate(args)],
        "kwargs": {_keyword(key): tag(value, f"kwargs[{key!r}]") for key, value in kwargs.items()},
    }
    if extras:
        tree["extras"] = {key: tag(value, key) for key, value in extras.items()}
    return _dump_call(tree)


def _dump_call(tree: dict[str, Any]) -> str:
    return _dump(tree, MAX_ARGS, "the arguments take", "pass large data as attachment=")


def encode_result(value: Any) -> str:
    """A result as JSON text; raises PayloadError with the path of what does not fit."""
    return _dump(tag(value, "result"), MAX_RESULT, "the result takes", "save large results with save_file()")


def encode_meta(value: Any) -> str:
    """What goes with a task's own state as JSON text; raises likewise. An exception as Celery keeps it."""
    if isinstance(value, BaseException):
        kind = type(value)
        value = {
            "exc_type": kind.__name__,
            "exc_message": [str(argument) for argument in value.args],
            "exc_module": kind.__module__,
        }
    return _dump(tag(value, "meta"), MAX_META, "the meta of a state takes", "return or save what is large")


def changed_call(
    payload: Any,
    *,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    extras: Mapping[str, Any],
) -> str:
    """The payload with other arguments where some are given, and with these extras too; raises likewise."""
    tree = loads(payload) if isinstance(payload, str) else payload
    new = loads(encode_call(tuple(args or ()), kwargs or {}, extras))
    changed = {
        "args": tree["args"] if args is None else new["args"],
        "kwargs": tree["kwargs"] if kwargs is None else new["kwargs"],
    }
    if more := tree.get("extras", {}) | new.get("extras", {}):
        changed["extras"] = more
    return _dump_call(changed)


def decode(text: str | bytes) -> Any:
    """The value that `encode_result` or `encode_meta` made the text from."""
    return untag(loads(text))


def decode_call(payload: Any) -> DecodedCall:
    """What `encode_call` made the payload from, given as text or already parsed."""
    tree = loads(payload) if isinstance(payload, str) else payload
    match tree:
        case {"args": list(args), "kwargs": dict(kwargs)} if len(tree) == 2:
            return DecodedCall(untag(args), _untag_members(kwargs), {})
        case {"args": list(args), "kwargs": dict(kwargs), "extras": dict(extras)} if len(tree) == 3:
            return DecodedCall(untag(args), _untag_members(kwargs), _untag_members(extras))
    raise PayloadError('the payload must be {"args": […], "kwargs": {…}}')


def _untag_members(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: untag(value) for key, value in tree.items()}


def check_call(tree: Any) -> str:
    """The arguments as JSON text from an already parsed `{"args": […], "kwargs": {…}}`; checks every tag.

    Written as `encode_call` writes them: whoever is given a result has it put in at a fixed place.
    """
    decode_call(tree)
    ours = {name: tree[name] for name in ("args", "kwargs", "extras") if name in tree}
    return _dump(ours, MAX_ARGS, "the arguments take", "pass large data as an attachment")


def _keyword(key: Any) -> str:
    if not isinstance(key, str):
        raise PayloadError(f"kwargs has the key {key!r}: names of arguments are text")
    return _text(key, f"kwargs key {key!r}")


def loads(text: str | bytes) -> Any:
    """Parsed JSON; raises MalformedJSON for all that RFC 8259 does not allow (NaN, lone surrogates, …)."""
    if isinstance(text, JsonText):
        text = str(text)  # orjson takes no subclass of str
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedJSON(f"this is not JSON: {error}") from None


def _dump(tree: Any, limit: int, what: str, remedy: str) -> str:
    data = orjson.dumps(tree)
    if len(data) > limit:
        raise PayloadError(f"{what} {len(data):,} bytes of JSON, the limit is {limit:,}: {remedy}")
    return data.decode()


def tag(value: Any, path: str = "value", depth: int = 0) -> Any:
    """The value in JSON's own types; raises PayloadError naming `path`. `depth` counts JSON's containers."""
    kind = type(value)
    if kind is str:
        return _text(value, path)
    if kind is int:
        return value if value in _INT64 else {"$int": hex(value)}
    if kind is bool or value is None:
        return value
    if kind is float:
        return _number(value, path)
    if depth >= MAX_DEPTH:
        raise PayloadError(f"{path} is nested too deep for JSON ({MAX_DEPTH} containers), or contains itself")
    if kind is list:
        return [tag(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    if kind is dict:
        return _mapping(value, path, depth)
    if kind in (tuple, set, frozenset):
        return {f"${kind.__name__}": [tag(item, f"{path}[{i}]", depth + 2) for i, item in enumerate(value)]}
    return _other(value, path, depth)


def _text(value: str, path: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise PayloadError(f"{path} is text with a lone surrogate, which JSON cannot carry") from None
    return value


def _number(value: float, path: str) -> float:
    if not math.isfinite(value):
        raise PayloadError(f"{path} is {value}, which JSON cannot carry: pass None or text")
    return value


def _mapping(value: dict[Any, Any], path: str, depth: int) -> Any:
    if not all(type(key) is str for key in value):
        return {
            "$map": [
                [tag(key, f"{path} key {i}", depth + 3), tag(item, f"{path} value {i}", depth + 3)]
                for i, (key, item) in enumerate(value.items())
            ]
        }
    inner = depth + (2 if _reads_as_tag(value) else 1)
    members = {
        _text(key, f"{path} key {key!r}"): tag(item, f"{path}[{key!r}]", inner) for key, item in value.items()
    }
    return {"$dict": members} if _reads_as_tag(members) else members


def _reads_as_tag(members: dict[str, Any]) -> bool:
    return len(members) == 1 and next(iter(members)).startswith("$")


def _other(value: Any, path: str, depth: int) -> Any:
    for kind, (name, encode) in _ENCODERS.items():
        if isinstance(value, kind):
            content = encode(value)
            # a subclass may know more than its base: pandas' nanoseconds
            if type(value) is kind or _SCALARS[name](content) == value:
                return {name: content}
    if isinstance(value, Enum) and isinstance(value, str | int | float):
        return tag(value.value, path, depth)
    for kind, bare in _BARE.items():
        if isinstance(value, kind):
            return tag(bare(value), path, depth)
    raise PayloadError(
        f"{path} is a {type(value).__module__}.{type(value).__qualname__}, which cannot travel as JSON: "
        "pass its id or plain values"
    )


def untag(tree: Any, depth: int = 0) -> Any:
    """The value that `tag` made the tree from; raises PayloadError for an unknown or broken tag."""
    kind = type(tree)
    if kind is not list and kind is not dict:
        return tree
    if depth > MAX_DEPTH + _TAG_DEPTH:
        raise PayloadError(f"the value is nested deeper than {MAX_DEPTH} containers")
    if kind is list:
        return [untag(item, depth + 1) for item in tree]
    if _reads_as_tag(tree):
        ((name, content),) = tree.items()
        return _untag_member(name, content, depth + 1)
    return {key: untag(item, depth + 1) for key, item in tree.items()}


def _untag_member(name: str, content: Any, depth: int) -> Any:
    try:
        if name in _SCALARS:
            return _SCALARS[name](content)
        if name in _SEQUENCES:
            return _SEQUENCES[name]([untag(item, depth + 1) for item in _expect(content, list)])
        if name == "$map":
            return {untag(key, depth + 2): untag(item, depth + 2) for key, item in _expect(content, list)}
        if name == "$failed":
            return _failed_job(content)
        if name == "$too_large":
            return Withheld(_expect(content, int))
        if name == "$dict":
            return {key: untag(item, depth + 1) for key, item in _expect(content, dict).items()}
    except PayloadError:
        raise
    except (TypeError, ValueError, ArithmeticError, AttributeError, KeyError) as error:
        raise PayloadError(f"{name!r} is no tag with this content: {error}") from None
    raise PayloadError(f"{name!r} is no tag known here")


def _failed_job(content: Any) -> FailedJob:
    error, call = content["error"], content["call"]
    args, kwargs, _ = decode_call(call)
    causes = tuple((str(kind), str(message)) for kind, message in error["causes"])
    failure = Failure(
        type=error["type"], message=error["message"], traceback=error["traceback"], causes=causes
    )
    return FailedJob(id=content["id"], task=content["task"], failure=failure, args=args, kwargs=kwargs)


def _expect(content: Any, kind: type) -> Any:
    if type(content) is not kind:
        raise TypeError(f"it must be a {kind.__name__}")
    return content


def describe_failure(error: BaseException) -> Failure:
    """The exception as plain text: type, message, traceback and its chain of causes."""
    return Failure(
        type=_type_name(error),
        message=_safe_message(error),
        traceback=_shortened(_traceback(error)),
        causes=tuple((_type_name(cause), _safe_message(cause)) for cause in _causes(error)),
    )


def told_of(kind: str, message: str) -> Failure:
    """A failure in two words, as far as they can be carried."""
    return Failure(type=_carriable(kind)[:MAX_TYPE], message=_carriable(message)[:MAX_MESSAGE])


def _type_name(error: BaseException) -> str:
    module = type(error).__module__
    name = type(error).__qualname__
    return _carriable(name if module == "builtins" else f"{module}.{name}")[:MAX_TYPE]


def _traceback(error: BaseException) -> str:
    try:
        return "".join(tracebacks.format_exception(error))
    except Exception as broken:  # noqa: BLE001 - MemoryError, or an exception that lies about itself
        return f"<the traceback cannot be shown: {type(broken).__name__}>"


def _safe_message(error: BaseException) -> str:
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may raise anything
        message = f"<its __str__ raised {type(broken).__name__}>"
    return _carriable(message)[:MAX_MESSAGE]


def _carriable(text: str) -> str:
    """The text without what databases refuse: lone surrogates and NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _shortened(text: str) -> str:
    text = _carriable(text)
    if len(text) <= MAX_TRACEBACK:
        return text
    half = MAX_TRACEBACK // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"


def _causes(error: BaseException) -> list[BaseException]:
    chain = [error]
    while len(chain) <= MAX_CAUSES:
        last = chain[-1]
        cause = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if cause is None or any(cause is known for known in chain):
            break
        chain.append(cause)
    return chain[1:]
