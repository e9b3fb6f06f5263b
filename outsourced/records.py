"""The values that cross layers: what is enqueued, leased, settled and shown.

Frozen, keyword-only, without I/O. A row of the database or a request's JSON becomes one of these
at the edge and never travels further in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, BinaryIO
from uuid import UUID

from outsourced.states import Event, State


class JsonText(str):
    """JSON already encoded: goes into a message as it is."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An exception as plain text; `causes` are (type, message) pairs, nearest first."""

    type: str
    message: str
    traceback: str = ""
    causes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedJob:
    """What an errback is told of: the job, how it failed, and what it had been called with."""

    id: str
    task: str
    failure: Failure
    args: list[Any]
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Withheld:
    """Stands for results that a job waited for, and that are too large to be given to it."""

    size: int  #: bytes of JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The Thing a job belongs to: any (type, id)."""

    type: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A file to go along with a job. `open` gives a fresh binary stream each time it is called."""

    open: Callable[[], BinaryIO]
    filename: str
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file the server holds: an attachment, or one a task saved. `sha256` is hexadecimal."""

    name: str
    size: int
    sha256: str
    content_type: str


class EdgeKind(StrEnum):
    """What a job waits for another for."""

    CHAIN = "chain"  #: for its completion
    CHORD = "chord"  #: for its completion, together with others
    ERROR = "error"  #: for its failure
    REPLACEMENT = "replacement"  #: for its completion, to have its result


#: what makes a job another's child, to whom it is the next; not what was replaced, which is its parent
HANDING_ON = (EdgeKind.CHAIN, EdgeKind.CHORD)
#: what producers have jobs wait for
PRODUCED = (EdgeKind.CHAIN, EdgeKind.CHORD, EdgeKind.ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A job's wait for one that is enqueued before it, in the same call.

    The results that are passed on become its first argument: one as it is, those of a chord as a list,
    of which each edge says how many brackets it opens and closes.
    """

    upstream: UUID
    kind: EdgeKind = EdgeKind.CHAIN
    passes: bool = True  #: whether the result goes along, or with `error` what failed
    opens: int = 0
    closes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job as its producer describes it."""

    id: UUID
    task: str
    payload: str  #: from `payload.encode_call`
    queue: str | None = None  #: None: the default queue
    priority: int = 0  #: smaller first
    runs_at: datetime | None = None
    runs_in: timedelta | None = None  #: counted by the database's clock
    expires_at: datetime | None = None
    expires_in: timedelta | None = None
    stuck_after: timedelta | None = None  #: this and the next two are counted from its start
    repeats_after_fail: timedelta | None = None
    repeats_after_complete: timedelta | None = None
    owner: Owner | None = None
    attachment: NewFile | None = None
    max_retries: int | None = 3
    max_losses: int = 3
    unique_key: str | None = None
    after: tuple[Edge, ...] = ()  #: what it waits for, in the order in which results are passed on
    add_to_chord: bool = False  #: of a task's own: the body that waits for the task's job waits for it too


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who enqueues: `actor` as history names it, and whose the job is."""

    actor: str
    client_id: int | None = None
    parent_id: UUID | None = None
    root_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a task says of itself while it runs: a state of its own, and the JSON text that goes with it."""

    state: str
    meta: str = "null"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the server knows it now."""

    id: UUID
    task: str
    queue: str
    state: State
    priority: int
    attempt: int
    failures: int
    losses: int
    max_retries: int | None
    max_losses: int
    owner: Owner | None
    created_at: datetime
    runs_at: datetime
    expires_at: datetime | None
    begun_at: datetime | None
    ended_at: datetime | None
    cancel_requested_at: datetime | None
    reason: str | None
    worker: str | None
    gets_stuck_at: datetime | None = None
    repeats_after_fail_at: datetime | None = None
    repeats_after_complete_at: datetime | None = None
    repeat_of: UUID | None = None  #: the ended job whose repeat it is
    parent_id: UUID | None = None  #: the job whose task enqueued it
    root_id: UUID | None = None  #: the first of that line
    payload: str | None = None
    result: str | None = None  #: JSON text, see `payload.decode`
    result_pruned: bool = False  #: there was a result, which is no longer kept
    error: Failure | None = None
    files: tuple[StoredFile, ...] = ()
    progress: Progress | None = None  #: while it is working, if its task tells


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One row of a job's history."""

    job_id: UUID
    seq: int
    from_state: State | None
    to_state: State
    event: Event
    attempt: int
    actor: str  #: `worker:NAME`, `client:NAME`, `admin:NAME`, `janitor`
    lease_id: UUID | None
    at: datetime
    reason: str | None
    error: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A claimed job in a worker's hands."""

    id: UUID
    job_id: UUID
    task: str
    payload: (
        JsonText | Any
    )  #: `{"args": […], "kwargs": {…}}`, tags not yet undone: text on the server, parsed on the worker
    queue: str
    attempt: int  #: the number of the attempt this will be, from 1
    failures: int  #: Celery's `request.retries`
    max_retries: int | None
    ttl: float  #: seconds from before the claim was asked for
    priority: int = 0
    expires_in: float | None = None  #: seconds, likewise; begin no later
    confirm: bool = (
        False  #: a delivery was lost before: report begin, and wait for the answer, before running
    )
    attachment: StoredFile | None = None
    owner: Owner | None = None
    passes_result: bool = False  #: another job is to be given its result
    parent_id: UUID | None = None  #: the job whose task enqueued it
    root_id: UUID | None = None  #: the first of that line; None: itself


class OutcomeKind(StrEnum):
    """How a lease ended, as the worker saw it."""

    COMPLETED = "completed"
    FAILED = "failed"
    RETRY = "retry"
    LOST = "lost"
    RELEASED = "released"
    REJECTED = "rejected"
    IGNORED = "ignored"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a worker reports of one lease.

    `ended_at` is a reading of this process's `time.monotonic()`; on the wire it travels as a duration.
    """

    lease_id: UUID
    job_id: UUID
    kind: OutcomeKind
    result: str | None = None  #: JSON text, from `payload.encode_result`
    error: Failure | None = None
    delay: float | None = None  #: with `retry`: the wish how long to wait
    max_retries: int | None = None  #: with `retry`: the budget of this call, if it names one
    ran_for: float | None = None  #: seconds; None: it never began
    ended_at: float = field(default_factory=time.monotonic)
    reason: str | None = None
    changes: Changed | None = None  #: with `retry`: what is other about the next try
    replaced_by: UUID | None = None  #: with `replaced`: the child whose result is to be this job's


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What a job is from its next try on; None: as before."""

    payload: str | None = None  #: JSON text, from `payload.changed_call`
    priority: int | None = None
    expires_in: float | None = None  #: seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A lease named in a request: begun, or still held. `begun_at` is a local `time.monotonic()`."""

    lease_id: UUID
    job_id: UUID
    begun_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The progress of the job under a lease. Of two, that with the greater number is the later one."""

    lease_id: UUID
    job_id: UUID
    number: int
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One process of a worker."""

    id: UUID
    host: str
    pid: int
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a request comes from: read from a verified token, never from a body."""

    id: int
    name: str
    epoch: int  #: the token's; void when the account's has moved on


class WorkerIdentity(Identity):
    """A worker: an account that claims."""

    __slots__ = ()


class ClientIdentity(Identity):
    """A client: an account that enqueues."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a commit made worth waking for."""

    ready: dict[tuple[str, str], int] = field(default_factory=dict)  #: (queue, task) → jobs now claimable
    workers: frozenset[str] = frozenset()  #: workers the server has word for (fire, lock, cancel, …)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRequest:
    """What a worker says in one exchange: outcomes, begun, held and progress in; leases wanted."""

    instance: Instance
    claim_id: UUID | None = None  #: set iff slots > 0; the same id again gets the same leases
    slots: int = 0
    wait: float = 0.0  #: seconds to park when there is nothing
    tasks: tuple[str, ...] = ()
    held: tuple[Held, ...] | None = None  #: None: not a heartbeat, renew nothing
    begun: tuple[Held, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    progress: tuple[Told, ...] = ()


class SettledStatus(StrEnum):
    RECORDED = "recorded"
    REPLAYED = "replayed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The server's answer to one outcome; a refused one has the `code` and says why."""

    lease_id: UUID
    status: SettledStatus
    code: str | None = None
    reason: str | None = None


class CommandKind(StrEnum):
    CANCEL = "cancel"  #: stop this lease's task and report it cancelled
    LOST = "lost"  #: this lease has ended: stop, its outcome does not count


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The server's word about one lease."""

    kind: CommandKind
    lease_id: UUID
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeReply:
    """What the server answers in one exchange."""

    leases: tuple[Lease, ...] = ()
    settled: tuple[Settled, ...] = ()
    commands: tuple[Command, ...] = ()
    retry_after: float | None = None  #: seconds to stay away before parking again

    def delayed(self, seconds: float) -> ExchangeReply:
        """The same to a request sent so long before it was looked at: `expires_in` counts from there."""
        leases = (
            lease if lease.expires_in is None else replace(lease, expires_in=lease.expires_in + seconds)
            for lease in self.leases
        )
        return replace(self, leases=tuple(leases))
