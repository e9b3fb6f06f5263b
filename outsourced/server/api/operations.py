"""What each rule of the blueprint takes and gives, by its endpoint: the part of the OpenAPI document that
no schema knows. A test holds this to the rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from marshmallow import Schema

from outsourced.errors import (
    AlreadyExists,
    AuthenticationFailed,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    DigestMismatch,
    Forbidden,
    IdempotencyKeyReused,
    InvalidRequest,
    KeyTaken,
    LeaseLost,
    MalformedJSON,
    NotFound,
    OutsourcedError,
    OwnerFull,
    PayloadError,
    QueueForbidden,
    QueueFull,
    TooLarge,
    TooManyRequests,
    UnknownQueue,
    UnsupportedMediaType,
    WorkerLocked,
    WorkerTooOld,
)
from outsourced.wire import job_schemas as jobs
from outsourced.wire import schemas

Errors = tuple[type[OutsourcedError], ...]

EVERYWHERE: Errors = (BackendUnavailable, BackendError, ConfigurationError)
CALLER: Errors = (AuthenticationFailed, WorkerLocked, Forbidden)
WORKER: Errors = (*CALLER, WorkerTooOld)
LEASE: Errors = (*WORKER, LeaseLost, NotFound)
BODY: Errors = (MalformedJSON, UnsupportedMediaType, TooLarge, InvalidRequest, PayloadError)
ENQUEUE: Errors = (*BODY, QueueFull, OwnerFull, QueueForbidden, UnknownQueue, KeyTaken, IdempotencyKeyReused)

FORM = "application/x-www-form-urlencoded"
BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One rule. `takes` and `gives` are a schema, else a media type; None: no body."""

    tag: str
    takes: type[Schema] | str | None = None
    takes_file: bool = False  #: the body may be multipart too, with an attachment
    gives: type[Schema] | str | None = "application/json"
    statuses: tuple[int, ...] = (200,)
    needs: str | None = None  #: the token's owner: "worker", "client"
    refusals: Errors = ()
    parameters: tuple[dict[str, Any], ...] = field(default=())


def query(name: str, description: str, **schema: Any) -> dict[str, Any]:
    """A parameter that may be left out."""
    return {"in": "query", "name": name, "description": description, "schema": schema or {"type": "string"}}


def header(name: str, description: str, *, required: bool = False) -> dict[str, Any]:
    """A header of a request."""
    schema = {"type": "string"}
    return {"in": "header", "name": name, "description": description, "schema": schema, "required": required}


WAIT = query("wait", "Seconds to wait for the job's end.", type="number", minimum=0, maximum=60)
UNLESS_BEGUN = query("unless_begun", "true: leave it alone if it has begun.", type="boolean", default=False)
KEY = header("Idempotency-Key", "The same request again under it gets the same answer, for a day.")
PAGING = (
    query("limit", "At most so many.", type="integer", minimum=1, maximum=500),
    query("cursor", "Those after the page that named it.", type="integer", minimum=1),
)
DIGEST = header("Repr-Digest", "sha-256 of the file (RFC 9530).", required=True)

_CLIENT: dict[str, Any] = {"tag": "clients", "needs": "client"}
_OAUTH: dict[str, Any] = {"tag": "oauth", "takes": FORM, "refusals": (TooManyRequests, TooLarge)}
OPERATIONS: dict[str, Operation] = {
    "index": Operation(tag="server"),
    "health": Operation(tag="server", statuses=(200, 503)),
    "openapi": Operation(tag="server"),
    "token": Operation(**_OAUTH),
    "revoke": Operation(**_OAUTH),
    "introspect": Operation(**_OAUTH),
    "jwks": Operation(tag="oauth"),
    "metadata": Operation(tag="oauth"),
    "well_known": Operation(tag="oauth"),
    "exchange": Operation(
        tag="workers",
        takes=schemas.ExchangeRequestSchema,
        gives=schemas.ExchangeReplySchema,
        needs="worker",
        refusals=(*WORKER, *BODY),
    ),
    "who_am_i": Operation(tag="workers", gives=schemas.WorkerSchema, needs="worker", refusals=WORKER),
    "fetch_attachment": Operation(
        tag="workers", gives=BYTES, statuses=(200, 206, 304), needs="worker", refusals=LEASE
    ),
    "save_file": Operation(
        tag="workers",
        takes=BYTES,
        gives=schemas.FileSchema,
        statuses=(200, 201),
        needs="worker",
        refusals=(*LEASE, InvalidRequest, TooLarge, DigestMismatch, AlreadyExists),
        parameters=(DIGEST,),
    ),
    "list_jobs": Operation(
        **_CLIENT,
        gives=jobs.JobsSchema,
        refusals=(*CALLER, InvalidRequest),
        parameters=(
            query("queue", "Of this queue."),
            query("state", "In this state."),
            query("task", "Of this task."),
            query("owner", "Of this owner, as Type:id."),
            *PAGING,
        ),
    ),
    "owned_jobs": Operation(
        **_CLIENT, gives=jobs.OwnedJobsSchema, refusals=(*CALLER, InvalidRequest), parameters=PAGING
    ),
    "cancel_owned": Operation(**_CLIENT, gives=jobs.CancelledSchema, refusals=(*CALLER, InvalidRequest)),
}
for _place, _tag, _needs, _caller in (
    ("OwnJobs", "clients", "client", CALLER),
    ("Children", "workers", "worker", LEASE),
):
    _common: dict[str, Any] = {"tag": _tag, "needs": _needs}
    _known = (*_caller, NotFound)
    OPERATIONS |= {
        f"{_place}_enqueue": Operation(
            **_common,
            takes=jobs.NewJobSchema,
            takes_file=True,
            gives=jobs.EnqueuedSchema,
            statuses=(201,),
            refusals=(*_caller, *ENQUEUE, DigestMismatch),
            parameters=(KEY,),
        ),
        f"{_place}_enqueue_batch": Operation(
            **_common,
            takes=jobs.NewJobsSchema,
            gives=jobs.EnqueuedManySchema,
            statuses=(201,),
            refusals=(*_caller, *ENQUEUE),
            parameters=(KEY,),
        ),
        f"{_place}_show": Operation(
            **_common, gives=jobs.JobSchema, refusals=(*_known, InvalidRequest), parameters=(WAIT,)
        ),
        f"{_place}_history": Operation(**_common, gives=jobs.HistorySchema, refusals=_known),
        f"{_place}_children": Operation(**_common, gives=jobs.ChildrenSchema, refusals=_known),
        f"{_place}_forget": Operation(**_common, gives=jobs.JobSchema, refusals=_known),
        f"{_place}_save_group": Operation(
            **_common, takes=jobs.GroupSchema, gives=jobs.SavedSchema, refusals=(*_caller, *BODY)
        ),
        f"{_place}_show_group": Operation(**_common, gives=jobs.GroupSchema, refusals=_known),
        f"{_place}_forget_group": Operation(**_common, gives=jobs.SavedSchema, refusals=_caller),
        f"{_place}_cancel": Operation(
            **_common, gives=jobs.JobSchema, refusals=(*_known, InvalidRequest), parameters=(UNLESS_BEGUN,)
        ),
        f"{_place}_fetch_file": Operation(**_common, gives=BYTES, statuses=(200, 206, 304), refusals=_known),
    }
