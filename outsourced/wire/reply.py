"""The reply of an exchange: what the server answers, as a record and as JSON."""

from __future__ import annotations

from typing import Any

import orjson

from outsourced.errors import InvalidRequest
from outsourced.payload import loads
from outsourced.records import (
    Command,
    CommandKind,
    ExchangeReply,
    Lease,
    Owner,
    Settled,
    SettledStatus,
    StoredFile,
)
from outsourced.wire.exchange import MAX_HELD, MAX_SLOTS
from outsourced.wire.reading import (
    Fault,
    JsonObject,
    choice,
    count,
    each,
    expect_object,
    flag,
    identity,
    member,
    optional_count,
    optional_identity,
    optional_seconds,
    optional_text,
    seconds,
    text,
    whole,
)

_STATUSES = {status.value: status for status in SettledStatus}
_COMMANDS = {kind.value: kind for kind in CommandKind}
#: bytes of one file: what a signed 64-bit column holds
_MAX_SIZE = 2**63 - 1


def dump_reply(reply: ExchangeReply) -> bytes:
    """The body that `load_reply` reads."""
    tree: JsonObject = {
        "leases": [_dump_lease(lease) for lease in reply.leases],
        "settled": [_dump_settled(settled) for settled in reply.settled],
        "commands": [_dump_command(command) for command in reply.commands],
    }
    if reply.retry_after is not None:
        tree["retry_after"] = reply.retry_after
    return orjson.dumps(tree)


def _dump_lease(lease: Lease) -> JsonObject:
    payload = lease.payload
    tree: JsonObject = {
        "id": lease.id,
        "job_id": lease.job_id,
        "task": lease.task,
        "payload": orjson.Fragment(payload.encode()) if isinstance(payload, str) else payload,
        "queue": lease.queue,
        "attempt": lease.attempt,
        "failures": lease.failures,
        "ttl": lease.ttl,
        "priority": lease.priority,
        "confirm": lease.confirm,
    }
    if lease.max_retries is not None:
        tree["max_retries"] = lease.max_retries
    if lease.expires_in is not None:
        tree["expires_in"] = lease.expires_in
    if lease.attachment is not None:
        tree["attachment"] = dump_file(lease.attachment)
    if lease.owner is not None:
        tree["owner"] = {"type": lease.owner.type, "id": lease.owner.id}
    if lease.passes_result:
        tree["passes_result"] = True
    if lease.parent_id is not None:
        tree["parent_id"], tree["root_id"] = lease.parent_id, lease.root_id
    return tree


def dump_file(file: StoredFile) -> JsonObject:
    """A file's description, as leases carry it and an upload is answered."""
    return {
        "name": file.name,
        "size": file.size,
        "sha256": file.sha256,
        "content_type": file.content_type,
    }


def _dump_settled(settled: Settled) -> JsonObject:
    tree: JsonObject = {"lease_id": settled.lease_id, "status": settled.status.value}
    if settled.code is not None:
        tree["code"] = settled.code
    if settled.reason is not None:
        tree["reason"] = settled.reason
    return tree


def _dump_command(command: Command) -> JsonObject:
    tree: JsonObject = {"kind": command.kind.value, "lease_id": command.lease_id}
    if command.reason is not None:
        tree["reason"] = command.reason
    return tree


def load_reply(body: bytes) -> ExchangeReply:
    """The reply in a body; raises MalformedJSON, or InvalidRequest with the path of what is wrong.

    Commands of a kind this version does not know are left out: a newer server may send them.
    """
    tree = loads(body)
    try:
        return _read_reply(expect_object(tree))
    except Fault as fault:
        raise InvalidRequest(str(fault), path=fault.path) from None


def load_file(body: bytes) -> StoredFile:
    """The description of a file that an upload is answered with; raises as `load_reply` does."""
    tree = loads(body)
    try:
        return read_file(expect_object(tree))
    except Fault as fault:
        raise InvalidRequest(str(fault), path=fault.path) from None


def _read_reply(tree: JsonObject) -> ExchangeReply:
    commands = each(tree, "commands", limit=2 * MAX_HELD, read=_read_command)
    return ExchangeReply(
        leases=each(tree, "leases", limit=MAX_SLOTS, read=_read_lease),
        settled=each(tree, "settled", limit=MAX_SLOTS, read=_read_settled),
        commands=tuple(command for command in commands if command is not None),
        retry_after=optional_seconds(tree, "retry_after"),
    )


def _read_lease(item: Any) -> Lease:
    tree = expect_object(item)
    return Lease(
        id=identity(tree, "id"),
        job_id=identity(tree, "job_id"),
        task=text(tree, "task"),
        payload=_read_payload(tree),
        queue=text(tree, "queue"),
        attempt=count(tree, "attempt"),
        failures=count(tree, "failures"),
        max_retries=optional_count(tree, "max_retries"),
        ttl=seconds(tree, "ttl"),
        priority=whole(tree, "priority", default=0),
        expires_in=optional_seconds(tree, "expires_in"),
        confirm=flag(tree, "confirm"),
        attachment=member(tree, "attachment", read=read_file),
        owner=member(tree, "owner", read=_read_owner),
        passes_result=flag(tree, "passes_result"),
        parent_id=optional_identity(tree, "parent_id"),
        root_id=optional_identity(tree, "root_id"),
    )


def _read_payload(tree: JsonObject) -> JsonObject:
    payload = tree.get("payload")
    if (
        type(payload) is dict
        and type(payload.get("args")) is list
        and type(payload.get("kwargs")) is dict
        and type(payload.get("extras", {})) is dict
    ):
        return payload
    raise Fault("payload", 'must be {"args": […], "kwargs": {…}}')


def read_file(tree: JsonObject) -> StoredFile:
    """The file that `dump_file` described."""
    return StoredFile(
        name=text(tree, "name"),
        size=count(tree, "size", limit=_MAX_SIZE),
        sha256=text(tree, "sha256"),
        content_type=text(tree, "content_type"),
    )


def _read_owner(tree: JsonObject) -> Owner:
    return Owner(type=text(tree, "type"), id=text(tree, "id"))


def _read_settled(item: Any) -> Settled:
    tree = expect_object(item)
    return Settled(
        lease_id=identity(tree, "lease_id"),
        status=choice(tree, "status", _STATUSES),
        code=optional_text(tree, "code"),
        reason=optional_text(tree, "reason"),
    )


def _read_command(item: Any) -> Command | None:
    tree = expect_object(item)
    if text(tree, "kind") not in _COMMANDS:
        return None
    return Command(
        kind=choice(tree, "kind", _COMMANDS),
        lease_id=identity(tree, "lease_id"),
        reason=optional_text(tree, "reason"),
    )
