"""What people are shown of an installation: queues, workers, clients, schedules, limits, and who did what.

Records as those of `records`: frozen, keyword-only, without I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from outsourced.states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    """A queue as it stands."""

    name: str
    capacity: int | None
    paused: bool
    default: bool
    workers: tuple[str, ...] = ()
    counts: dict[State, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceInfo:
    """A process of a worker, as last heard of."""

    id: UUID
    host: str
    pid: int
    version: str
    started_at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker as the server knows it."""

    name: str
    state: str  #: `active` or `locked`
    paused: bool
    queues: tuple[str, ...]
    created_at: datetime
    seen_at: datetime | None
    leases: int = 0
    instances: tuple[InstanceInfo, ...] = ()
    credentials: tuple[CredentialInfo, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientInfo:
    """A client as the server knows it."""

    name: str
    state: str  #: `active` or `locked`
    queues: tuple[str, ...]  #: it may enqueue into
    created_at: datetime
    credentials: tuple[CredentialInfo, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialInfo:
    """A credential of an account: its id, never the key or secret."""

    kid: str
    created_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleInfo:
    """A recurring job, for people."""

    name: str
    task: str
    spec: str
    zone: str
    queue: str | None  #: None: the default one
    paused: bool
    due_at: datetime
    ticked_at: datetime | None
    job_id: UUID | None  #: of the last tick
    skipped: str | None  #: why the last tick made no job


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitInfo:
    """A rate limit, for people."""

    kind: str  #: task or queue
    name: str
    limit: str  #: `10/m`, or `unlimited`
    by: str  #: code or people


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """An act of a person, recorded in its own transaction."""

    at: datetime
    actor: str
    act: str
    subject: str
    details: dict[str, Any]
