"""The signals that a worker sends itself, and what it logs of jobs that come.

Those of a task at work come from `outsourced.tracing`.
"""

from __future__ import annotations

from collections.abc import Sequence

from outsourced import joblog
from outsourced.errors import MalformedJSON, PayloadError
from outsourced.payload import decode_call
from outsourced.records import Lease, OutcomeKind
from outsourced.registry import registry
from outsourced.request import Request
from outsourced.signals import task_received, task_revoked
from outsourced_worker.assignment import Assignment

#: outcomes that Celery calls revoked
REVOKED = frozenset({OutcomeKind.CANCELLED, OutcomeKind.EXPIRED})


def tell_received(assignments: Sequence[Assignment]) -> None:
    """Tells of jobs that have come."""
    joblog.received(assignment.lease for assignment in assignments)
    if task_received.receivers:
        for assignment in assignments:
            task_received.send(None, request=_request(assignment.lease))


def tell_revoked(assignment: Assignment, kind: OutcomeKind) -> None:
    """Tells of a job that was cancelled, before or while it ran, or came too late."""
    if task_revoked.receivers:
        lease = assignment.lease
        task_revoked.send(
            registry.get(lease.task) or lease.task,
            request=_request(lease),
            terminated=kind is OutcomeKind.CANCELLED and assignment.begun_at is not None,
            signum=None,
            expired=kind is OutcomeKind.EXPIRED,
        )


def _request(lease: Lease) -> Request:
    job_id = str(lease.job_id)
    request = Request(
        id=job_id,
        task=lease.task,
        retries=lease.failures,
        called_directly=False,
        correlation_id=job_id,
        root_id=str(lease.root_id or job_id),
        parent_id=None if lease.parent_id is None else str(lease.parent_id),
    )
    try:
        request.args, request.kwargs, extras = decode_call(lease.payload)
    except (PayloadError, MalformedJSON):
        return request  # the job fails of it where it runs
    request.headers = extras.get("headers")
    return request
