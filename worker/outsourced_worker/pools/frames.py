"""What travels between the worker and its slot processes: marshalled tuples behind their length.

Both ends are the same Python and the same installation, so the standard library's fastest format
will do. A frame is written with one system call and arrives whole, or its writer has died.
"""

from __future__ import annotations

import marshal
import os
import struct
from collections.abc import Iterator
from threading import Lock
from typing import Any
from uuid import UUID

from outsourced.records import Changed, Failure, JsonText, Lease, Outcome, OutcomeKind, Owner, StoredFile
from outsourced_worker.assignment import Assignment

_LENGTH = struct.Struct("<I")
_READ = 1 << 18


def frame(content: Any) -> bytes:
    """One frame."""
    body = marshal.dumps(content)
    return _LENGTH.pack(len(body)) + body


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of it; raises BrokenPipeError when the reader is gone."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class FrameWriter:
    """Writes frames whole, whichever thread has one."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = Lock()

    def write(self, data: bytes) -> None:
        """Writes the frame; raises BrokenPipeError when the reader is gone."""
        with self._lock:
            write_all(self._descriptor, data)


class FrameReader:
    """Frames from a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""

    def read(self) -> Iterator[Any] | None:
        """The frames that one read brings; None at the end of the pipe."""
        data = os.read(self._descriptor, _READ)
        if not data:
            return None
        return self._split(self._rest + data)

    def _split(self, data: bytes) -> Iterator[Any]:
        start, end = 0, len(data)
        self._rest = b""
        while end - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, start)
            stop = start + _LENGTH.size + length
            if stop > end:
                break
            yield marshal.loads(memoryview(data)[start + _LENGTH.size : stop])
            start = stop
        self._rest = data[start:]


def pack_assignment(number: int, assignment: Assignment) -> bytes:
    """A numbered job as the slot process reads it."""
    lease = assignment.lease
    file, owner = lease.attachment, lease.owner
    return frame(
        (
            number,
            assignment.asked_at,
            lease.id.bytes,
            lease.job_id.bytes,
            lease.task,
            str(lease.payload) if isinstance(lease.payload, str) else lease.payload,
            lease.queue,
            lease.attempt,
            lease.failures,
            lease.max_retries,
            lease.ttl,
            lease.priority,
            lease.expires_in,
            file and (file.name, file.size, file.sha256, file.content_type),
            owner and (owner.type, owner.id),
            lease.passes_result,
            lease.parent_id and lease.parent_id.bytes,
            lease.root_id and lease.root_id.bytes,
        )
    )


def unpack_assignment(content: tuple[Any, ...]) -> tuple[int, Assignment]:
    """What `pack_assignment` packed."""
    number, asked_at, lease_id, job_id, task, payload, queue, attempt, failures, *rest = content
    max_retries, ttl, priority, expires_in, file, owner, passes_result, *line = rest
    parent_id, root_id = line
    lease = Lease(
        id=UUID(bytes=lease_id),
        job_id=UUID(bytes=job_id),
        task=task,
        payload=JsonText(payload) if isinstance(payload, str) else payload,
        queue=queue,
        attempt=attempt,
        failures=failures,
        max_retries=max_retries,
        ttl=ttl,
        priority=priority,
        expires_in=expires_in,
        attachment=file and StoredFile(name=file[0], size=file[1], sha256=file[2], content_type=file[3]),
        owner=owner and Owner(type=owner[0], id=owner[1]),
        passes_result=passes_result,
        parent_id=parent_id and UUID(bytes=parent_id),
        root_id=root_id and UUID(bytes=root_id),
    )
    return number, Assignment(lease, asked_at, asked_at)


def pack_outcome(number: int, begun_at: float | None, outcome: Outcome) -> bytes:
    """The outcome of a numbered job; which job that is, the parent knows."""
    error, changes = outcome.error, outcome.changes
    return frame(
        (
            number,
            begun_at,
            outcome.kind.value,
            outcome.result,
            error and (error.type, error.message, error.traceback, error.causes),
            outcome.delay,
            outcome.max_retries,
            outcome.ran_for,
            outcome.ended_at,
            outcome.reason,
            changes and (changes.payload, changes.priority, changes.expires_in),
            outcome.replaced_by and outcome.replaced_by.bytes,
        )
    )


def unpack_outcome(assignment: Assignment, content: tuple[Any, ...]) -> Outcome:
    """What `pack_outcome` packed, as an outcome of this job."""
    _, assignment.begun_at, kind, result, error, delay, max_retries, ran_for, *rest = content
    ended_at, reason, changes, replaced_by = rest
    return Outcome(
        lease_id=assignment.lease.id,
        job_id=assignment.lease.job_id,
        kind=OutcomeKind(kind),
        result=result,
        error=error and Failure(type=error[0], message=error[1], traceback=error[2], causes=error[3]),
        delay=delay,
        max_retries=max_retries,
        ran_for=ran_for,
        ended_at=ended_at,
        reason=reason,
        changes=changes and Changed(payload=changes[0], priority=changes[1], expires_in=changes[2]),
        replaced_by=replaced_by and UUID(bytes=replaced_by),
    )
