"""The messages of the protocol as marshmallow schemas: their description, and the tests' second opinion.

The exchange itself goes through the codec in `outsourced.wire.exchange` and `.reply`, many times as
fast. Unknown members are ignored; a member that may be absent may be null.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from outsourced.calls import MAX_PRIORITY
from outsourced.errors import PayloadError
from outsourced.payload import MAX_META, MAX_RESULT, check_call
from outsourced.progress import trouble_with
from outsourced.records import CommandKind, OutcomeKind, SettledStatus
from outsourced.wire.exchange import (
    MAX_CAUSES,
    MAX_HELD,
    MAX_OUTCOMES,
    MAX_PROGRESS,
    MAX_SLOTS,
    MAX_TASKS,
    MAX_WAIT,
)
from outsourced.wire.reading import MAX_COUNT, MAX_NAME, MAX_SECONDS
from outsourced.wire.strict import encode


class Identity(fields.Field[UUID]):
    """An id in its hyphenated form."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> UUID:
        try:
            if isinstance(value, str) and str(UUID(value)) == value.lower():
                return UUID(value)
        except ValueError as error:
            raise ValidationError("Not an id.") from error
        raise ValidationError("Not an id.")


class Whole(fields.Field[int]):
    """A whole number; neither 1.0 nor true is one."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValidationError("Not a whole number.")
        return value


class Number(fields.Field[float]):
    """A number; true is none."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise ValidationError("Not a number.")
        return float(value)


class Truth(fields.Field[bool]):
    """True or false, and nothing that looks like it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Neither true nor false.")
        return value


def a_name(**options: Any) -> fields.String:
    rules = [validate.Length(min=1, max=MAX_NAME), validate.ContainsNoneOf("\0")]
    return fields.String(validate=rules, **options)


def a_count(limit: int = MAX_COUNT, **options: Any) -> Whole:
    return Whole(validate=validate.Range(min=0, max=limit), **options)


def a_duration(limit: float = MAX_SECONDS, **options: Any) -> Number:
    return Number(validate=validate.Range(min=0, max=limit), **options)


def _many(item: Any, limit: int) -> Any:
    rule = validate.Length(max=limit)
    if isinstance(item, fields.Field):
        return fields.List(item, allow_none=True, validate=rule)
    return fields.List(fields.Nested(item), allow_none=True, validate=rule)


def _one_of(kinds: Any) -> fields.String:
    return fields.String(required=True, validate=validate.OneOf([kind.value for kind in kinds]))


class Message(Schema):
    """What all have in common: unknown members are ignored."""

    class Meta:
        unknown = EXCLUDE


class InstanceSchema(Message):
    """The process that asks."""

    id = Identity(required=True)
    host = a_name(required=True)
    pid = a_count(required=True)
    version = a_name(required=True)


class FailureSchema(Message):
    """An exception as text; `causes` are [type, message] pairs, nearest first."""

    type = fields.String(required=True)
    message = fields.String(required=True)
    traceback = fields.String(allow_none=True)
    causes = _many(fields.List(fields.String(), validate=validate.Length(equal=2)), MAX_CAUSES)


class HeldSchema(Message):
    """A lease that has begun, or is still held."""

    lease_id = Identity(required=True)
    job_id = Identity(required=True)
    begun_ago = a_duration(allow_none=True)


class ChangesSchema(Message):
    """What a job is from its next try on; absent: as before."""

    payload = fields.Dict(keys=fields.String(), allow_none=True)
    priority = Whole(allow_none=True, validate=validate.Range(min=-MAX_PRIORITY, max=MAX_PRIORITY))
    expires_in = a_duration(allow_none=True)

    @validates_schema
    def check_payload(self, data: dict[str, Any], **kwargs: Any) -> None:
        """As the payload of a new job."""
        if data.get("payload") is not None:
            try:
                check_call(data["payload"])
            except PayloadError as error:
                raise ValidationError(str(error), "payload") from error


class OutcomeSchema(Message):
    """How a lease ended. `result` is any JSON, null included; absent, there is none."""

    lease_id = Identity(required=True)
    job_id = Identity(required=True)
    kind = _one_of(OutcomeKind)
    result = fields.Raw(allow_none=True)
    error = fields.Nested(FailureSchema, allow_none=True)
    delay = a_duration(allow_none=True)
    max_retries = a_count(allow_none=True)
    ran_for = a_duration(allow_none=True)
    ended_ago = a_duration(allow_none=True)
    reason = fields.String(allow_none=True)
    changes = fields.Nested(ChangesSchema, allow_none=True)
    replaced_by = Identity(allow_none=True)

    @validates_schema
    def check_replacement(self, data: dict[str, Any], **kwargs: Any) -> None:
        """Whoever is replaced is so by somebody."""
        if data.get("kind") == OutcomeKind.REPLACED and data.get("replaced_by") is None:
            raise ValidationError("Missing data for required field.", "replaced_by")

    @validates_schema
    def check_result(self, data: dict[str, Any], **kwargs: Any) -> None:
        """The limits of results: their size, and how deeply they nest."""
        encoded = encode(data.get("result"))
        if encoded is None or len(encoded) > MAX_RESULT:
            raise ValidationError("Too large, or nested too deeply.", "result")


class ToldSchema(Message):
    """The progress of a task at work. Of two, that with the greater number is the later one."""

    lease_id = Identity(required=True)
    job_id = Identity(required=True)
    number = a_count(required=True)
    state = a_name(required=True)
    meta = fields.Raw(allow_none=True)

    @validates_schema
    def check_told(self, data: dict[str, Any], **kwargs: Any) -> None:
        """No state in which jobs end; the limits of what goes with it."""
        if "state" in data and trouble_with(data["state"]):
            raise ValidationError("A job ends so; it shows no such state before.", "state")
        encoded = encode(data.get("meta"))
        if encoded is None or len(encoded) > MAX_META:
            raise ValidationError("Too large, or nested too deeply.", "meta")


class ExchangeRequestSchema(Message):
    """The body of POST /v1/leases."""

    instance = fields.Nested(InstanceSchema, required=True)
    claim_id = Identity(allow_none=True)
    slots = a_count(MAX_SLOTS, allow_none=True)
    wait = a_duration(MAX_WAIT, allow_none=True)
    tasks = _many(a_name(), MAX_TASKS)
    held = _many(HeldSchema, MAX_HELD)
    begun = _many(HeldSchema, MAX_OUTCOMES)
    outcomes = _many(OutcomeSchema, MAX_OUTCOMES)
    progress = _many(ToldSchema, MAX_PROGRESS)

    @validates_schema
    def check_claim(self, data: dict[str, Any], **kwargs: Any) -> None:
        """A claim has an id; what claims nothing has none."""
        if (data.get("claim_id") is None) is bool(data.get("slots")):
            raise ValidationError("Must be there if, and only if, slots is above 0.", "claim_id")

    @validates_schema
    def check_leases(self, data: dict[str, Any], **kwargs: Any) -> None:
        """No lease is twice in one list."""
        for name in ("held", "begun", "outcomes", "progress"):
            leases = [item["lease_id"] for item in data.get(name) or ()]
            if len(set(leases)) != len(leases):
                raise ValidationError("A lease is there twice.", name)


class FileSchema(Message):
    """A file: of a lease's attachment, and the answer to an upload."""

    name = fields.String(required=True)
    size = a_count(2**63 - 1, required=True)
    sha256 = fields.String(required=True)
    content_type = fields.String(required=True)


class OwnerSchema(Message):
    """The thing a job belongs to."""

    type = fields.String(required=True)
    id = fields.String(required=True)


class PayloadSchema(Message):
    """The arguments; values of types that JSON lacks are tagged. `extras` is for the task's process alone."""

    args = fields.List(fields.Raw(allow_none=True), required=True)
    kwargs = fields.Dict(keys=fields.String(), required=True)
    extras = fields.Dict(keys=fields.String())


class LeaseSchema(Message):
    """A job in the worker's hands for `ttl` seconds from before it asked."""

    id = Identity(required=True)
    job_id = Identity(required=True)
    task = fields.String(required=True)
    payload = fields.Nested(PayloadSchema, required=True)
    queue = fields.String(required=True)
    attempt = a_count(required=True)
    failures = a_count(required=True)
    max_retries = a_count(allow_none=True)
    ttl = a_duration(required=True)
    priority = Whole(allow_none=True, validate=validate.Range(min=-MAX_COUNT, max=MAX_COUNT))
    expires_in = a_duration(allow_none=True)
    confirm = Truth(allow_none=True)
    attachment = fields.Nested(FileSchema, allow_none=True)
    owner = fields.Nested(OwnerSchema, allow_none=True)
    passes_result = Truth(allow_none=True)
    parent_id = Identity(allow_none=True)
    root_id = Identity(allow_none=True)


class SettledSchema(Message):
    """The answer to one outcome."""

    lease_id = Identity(required=True)
    status = _one_of(SettledStatus)
    code = fields.String(allow_none=True)
    reason = fields.String(allow_none=True)


class CommandSchema(Message):
    """The server's word about one lease. A worker ignores the kinds it does not know."""

    kind = _one_of(CommandKind)
    lease_id = Identity(required=True)
    reason = fields.String(allow_none=True)


class ExchangeReplySchema(Message):
    """The answer to POST /v1/leases."""

    leases = _many(LeaseSchema, MAX_SLOTS)
    settled = _many(SettledSchema, MAX_OUTCOMES)
    commands = _many(CommandSchema, 2 * MAX_HELD)
    retry_after = a_duration(allow_none=True)


class WorkerSchema(Message):
    """The answer to GET /v1/worker."""

    worker = fields.String(required=True)
    state = fields.String(required=True, validate=validate.OneOf(["active", "locked"]))
    paused = Truth(required=True)
    queues = fields.List(fields.String(), required=True)


class ProblemSchema(Message):
    """A refusal (RFC 9457); further members are facts of the error."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = a_count(required=True)
    detail = fields.String(required=True)
    code = fields.String(required=True)
