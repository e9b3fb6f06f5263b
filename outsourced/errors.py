"""Every error of the package: one tree, one stable `code` each, one table for the wire.

The server answers a raised error as `application/problem+json` (RFC 9457) with its `code`;
the HTTP client raises the same class from that code. Nothing here imports any other module of the package.
"""

from __future__ import annotations

import builtins
from typing import Any, ClassVar


class OutsourcedError(Exception):
    """The base of all errors raised by this package.

    Keyword arguments are *facts* (job id, queue, …): attributes of the exception, and members
    of the problem document when it travels over HTTP.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str | None = None, **facts: Any) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        facts = self.__dict__.get("facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), str(self), self.facts))


def _rebuild(cls: type[OutsourcedError], message: str, facts: dict[str, Any]) -> OutsourcedError:
    return cls(message, **facts)


class ConfigurationError(OutsourcedError):
    """The configuration is wrong; the message says what to change."""

    code = "configuration"


class MissingExtra(ConfigurationError, ImportError):
    """An optional part is not installed; the message names the extra."""

    code = "missing_extra"


class NotRegistered(OutsourcedError):
    """No imported module defines a task of this name."""

    code = "not_registered"
    status = 404


class TaskAlreadyRegistered(ConfigurationError):
    """Two functions claim the same task name."""

    code = "task_already_registered"


class InvalidTransition(OutsourcedError):
    """The job's state does not allow this event."""

    code = "invalid_transition"
    status = 409


class LeaseLost(OutsourcedError):
    """The lease has ended; its outcome no longer counts."""

    code = "lease_lost"
    status = 409


class KeyTaken(OutsourcedError):
    """A live job already holds this unique key."""

    code = "key_taken"
    status = 409


class NotFound(OutsourcedError):
    """There is no such thing, or it is not yours."""

    code = "not_found"
    status = 404


class AlreadyExists(OutsourcedError):
    """A thing of this name exists already."""

    code = "already_exists"
    status = 409


class UnknownQueue(NotFound):
    """No queue has this name; create it with `flask outsourcer queue create`."""

    code = "unknown_queue"


class QueueFull(OutsourcedError):
    """The bounded queue has no room for it. Facts: queue, capacity, free, asked, retry_after (seconds)."""

    code = "queue_full"
    status = 429


class OwnerFull(QueueFull):
    """The owner has all live jobs it may have. Facts: owner, limit, free, asked, retry_after (seconds)."""

    code = "owner_full"


class NotHired(OutsourcedError):
    """The worker does not work this queue."""

    code = "not_hired"
    status = 403


class Forbidden(OutsourcedError):
    """The caller may not do this."""

    code = "forbidden"
    status = 403


class QueueForbidden(Forbidden):
    """The caller may not enqueue into this queue, or there is none of this name."""

    code = "queue_forbidden"


class IdempotencyKeyReused(OutsourcedError):
    """The Idempotency-Key came before, with another request."""

    code = "idempotency_key_reused"
    status = 422


class PayloadError(OutsourcedError, ValueError):
    """A value cannot be carried as JSON; the message gives its path."""

    code = "payload"
    status = 422


class InvalidRequest(OutsourcedError, ValueError):
    """The request is malformed; the message says where."""

    code = "invalid_request"
    status = 422


class MalformedJSON(InvalidRequest):
    """The body is not JSON as RFC 8259 has it."""

    code = "malformed_json"
    status = 400


class UnsupportedMediaType(InvalidRequest):
    """The body must be `application/json`."""

    code = "unsupported_media_type"
    status = 415


class TooLarge(OutsourcedError):
    """The body is larger than this server accepts."""

    code = "too_large"
    status = 413


class DigestMismatch(OutsourcedError):
    """The bytes received are not the bytes sent; send the file again."""

    code = "digest_mismatch"
    status = 422


class WorkerTooOld(OutsourcedError):
    """This server no longer speaks the worker's protocol version; upgrade the worker."""

    code = "worker_too_old"
    status = 426


class TimeoutError(OutsourcedError, builtins.TimeoutError):  # Celery's name for it
    """The result did not come in time."""

    code = "timeout"
    status = 504


class JobFailed(OutsourcedError):
    """The job ended without a result. Facts: job_id, type, traceback."""

    code = "job_failed"
    status = 409


class MaxRetriesExceeded(JobFailed):
    """The task asked for another try and has none left."""

    code = "max_retries_exceeded"


class JobRevoked(JobFailed):
    """The job was cancelled or expired before it completed."""

    code = "job_revoked"


class ChordError(JobFailed):
    """A job whose result was to be passed on, with those of others, ended without one."""

    code = "chord"


class ResultPruned(OutsourcedError):
    """The job completed, but its result is no longer kept; OUTSOURCED_RETENTION says how long it is."""

    code = "result_pruned"
    status = 410


class AuthenticationFailed(OutsourcedError):
    """The credentials were not accepted."""

    code = "invalid_token"
    status = 401


class WorkerLocked(AuthenticationFailed):
    """The worker is locked out; `flask outsourcer worker unlock` lets it in again."""

    code = "worker_locked"


class BackendError(OutsourcedError):
    """The store of jobs failed."""

    code = "backend"


class BackendUnavailable(BackendError):
    """The store of jobs cannot be reached now; trying again is safe."""

    code = "unavailable"
    status = 503


class QueueBusy(BackendUnavailable):
    """Other producers hold the gate of this bounded queue; try again. Facts: queue, retry_after (seconds)."""

    code = "queue_busy"


class StorageMismatch(BackendUnavailable):
    """This host's storage of files is not the one the installation's files are in."""

    code = "storage_mismatch"


class TooManyRequests(BackendUnavailable):
    """So many requests are not answered here. Facts: retry_after (seconds)."""

    code = "too_many_requests"
    status = 429


class SchemaOutdated(ConfigurationError):
    """The tables do not fit this version; run `flask outsourcer init` or `flask outsourcer db upgrade`."""

    code = "schema_outdated"
    status = 503


def retry_after(error: OutsourcedError) -> float:
    """Seconds the server asks to stay away for; 0 where it asks nothing, or nonsense."""
    asked = error.facts.get("retry_after")
    return float(asked) if isinstance(asked, int | float) and asked > 0 else 0.0


def _tree(root: type[OutsourcedError]) -> dict[str, type[OutsourcedError]]:
    table = {root.code: root}
    for child in root.__subclasses__():
        table |= _tree(child)
    return table


#: problem code → class, for the client's side of the wire
BY_CODE: dict[str, type[OutsourcedError]] = _tree(OutsourcedError)
