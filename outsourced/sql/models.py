"""The tables. For reading, also through the host's `db.session`; writing goes through verbs.

Why columns are where they are, and why these indexes and no others: docs/decisions/0001-tables.md.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from outsourced.sql.base import PREFIX, Base, LongText


class Queue(Base):
    """A named line of jobs. `capacity` NULL: unlimited."""

    __tablename__ = PREFIX + "queues"
    __table_args__ = ({"sqlite_autoincrement": True},)  # a number never changes hands: jobs keep it

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    capacity: Mapped[int | None]
    paused: Mapped[bool] = mapped_column(default=False)
    is_default: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]
    rate_id: Mapped[int | None]  #: of its rate limit; NULL: it has none


class TaskName(Base):
    """A task's name, once; jobs hold its number."""

    __tablename__ = PREFIX + "tasks"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    rate_id: Mapped[int | None]  #: of its rate limit; NULL: it has none


class RateLimit(Base):
    """What limits a task or a queue, and how far its permits are spent.

    Claims lock and write it, where the limit is in force: hence apart from what it limits.
    """

    __tablename__ = PREFIX + "rates"

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int | None] = mapped_column(unique=True)
    queue_id: Mapped[int | None] = mapped_column(unique=True)
    declared: Mapped[str | None]  #: by the task's code
    chosen: Mapped[str | None]  #: by people, which goes before; NULL: they have not
    pace: Mapped[float | None] = mapped_column(Double)  #: seconds between two jobs; NULL: not in force
    burst: Mapped[int]  #: jobs that may go at once
    next_at: Mapped[datetime]  #: when those begun are paid for


class QueueTask(Base):
    """A pair that has held a job: claims skip all other pairs."""

    __tablename__ = PREFIX + "queue_tasks"

    queue_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    task_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Account(Base):
    """Somebody elsewhere who proves who it is: a worker, or a client that enqueues.

    Claims lock on its id: no hot column may live here.
    """

    __tablename__ = PREFIX + "accounts"
    __table_args__ = ({"sqlite_autoincrement": True},)  # nor does this one: tokens name it

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]  #: worker or client
    state: Mapped[str] = mapped_column(default="active")  #: active or locked
    paused: Mapped[bool] = mapped_column(default=False)
    epoch: Mapped[int] = mapped_column(default=0)  #: tokens of an older epoch are void
    created_at: Mapped[datetime]

    __mapper_args__ = {"polymorphic_on": "kind"}  # noqa: RUF012


class Worker(Account):
    """An account that works queues."""

    __mapper_args__ = {"polymorphic_identity": "worker"}  # noqa: RUF012


class Client(Account):
    """An account that enqueues over HTTP, and looks after its own jobs."""

    __mapper_args__ = {"polymorphic_identity": "client"}  # noqa: RUF012


class Allowance(Base):
    """This account may enqueue into this queue: a client at any time, a worker's tasks under their leases."""

    __tablename__ = PREFIX + "allowances"

    account_id: Mapped[int] = mapped_column(
        ForeignKey(Account.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    queue_id: Mapped[int] = mapped_column(
        ForeignKey(Queue.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    created_at: Mapped[datetime]


class Hire(Base):
    """This worker works this queue."""

    __tablename__ = PREFIX + "hires"

    worker_id: Mapped[int] = mapped_column(
        ForeignKey(Account.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    queue_id: Mapped[int] = mapped_column(
        ForeignKey(Queue.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    created_at: Mapped[datetime]


class Credential(Base):
    """What an account proves itself by: its public key, or the digest of its secret. Never more than that."""

    __tablename__ = PREFIX + "credentials"
    __table_args__ = (CheckConstraint("(public_jwk IS NULL) <> (secret_sha256 IS NULL)", name="one_proof"),)

    kid: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(Account.id, ondelete="CASCADE"), index=True)
    public_jwk: Mapped[str | None] = mapped_column(LongText)
    secret_sha256: Mapped[str | None]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Instance(Base):
    """One process of a worker, as it introduced itself, and the tasks it knows (JSON)."""

    __tablename__ = PREFIX + "instances"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    worker_id: Mapped[int] = mapped_column(ForeignKey(Account.id, ondelete="CASCADE"), index=True)
    host: Mapped[str]
    pid: Mapped[int]
    version: Mapped[str]
    tasks: Mapped[str] = mapped_column(LongText)
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class Job(Base):
    """A job: what it is, where it stands, and who has it."""

    __tablename__ = PREFIX + "jobs"
    __table_args__ = (
        # the claim: one probe per hired queue × known task. No second index may cover `unassigned`.
        Index(
            PREFIX + "jobs_ready",
            "queue_id",
            "task_id",
            "priority",
            "seq",
            postgresql_where=text("state = 'unassigned'"),
            sqlite_where=text("state = 'unassigned'"),
        ),
        Index(
            PREFIX + "jobs_due",
            "runs_at",
            postgresql_where=text("state IN ('scheduled', 'retrying')"),
            sqlite_where=text("state IN ('scheduled', 'retrying')"),
        ),
        # by lease_until, not by state: a predicate that a settle implies would ruin settling
        Index(
            PREFIX + "jobs_leased",
            "lease_until",
            postgresql_where=text("lease_until IS NOT NULL"),
            sqlite_where=text("lease_until IS NOT NULL"),
        ),
        Index(
            PREFIX + "jobs_live",
            "live_key",
            unique=True,
            postgresql_where=text("live_key IS NOT NULL"),
            sqlite_where=text("live_key IS NOT NULL"),
        ),
        Index(
            PREFIX + "jobs_expiry",
            "expires_at",
            postgresql_where=text("expires_at IS NOT NULL AND ended_at IS NULL"),
            sqlite_where=text("expires_at IS NOT NULL AND ended_at IS NULL"),
        ),
        Index(
            PREFIX + "jobs_bounded",
            "bounded_queue_id",
            postgresql_where=text("bounded_queue_id IS NOT NULL"),
            sqlite_where=text("bounded_queue_id IS NOT NULL"),
        ),
        # what a client may look at: empty while nobody enqueues over HTTP
        Index(
            PREFIX + "jobs_client",
            "client_id",
            "seq",
            postgresql_where=text("client_id IS NOT NULL"),
            sqlite_where=text("client_id IS NOT NULL"),
        ),
        # a Thing's jobs by state, without a look at the table
        Index(
            PREFIX + "jobs_owner",
            "owner_type",
            "owner_id",
            "state",
            postgresql_where=text("owner_type IS NOT NULL"),
            sqlite_where=text("owner_type IS NOT NULL"),
        ),
        # pruning; not over jobs alive, which other indexes serve
        Index(
            PREFIX + "jobs_ended",
            "state",
            "ended_at",
            postgresql_where=text("ended_at IS NOT NULL"),
            sqlite_where=text("ended_at IS NOT NULL"),
        ),
        # a job is repeated once
        Index(
            PREFIX + "jobs_repeat",
            "repeat_of",
            unique=True,
            postgresql_where=text("repeat_of IS NOT NULL"),
            sqlite_where=text("repeat_of IS NOT NULL"),
        ),
        # what a task has enqueued: empty while none does
        Index(
            PREFIX + "jobs_parent",
            "parent_id",
            postgresql_where=text("parent_id IS NOT NULL"),
            sqlite_where=text("parent_id IS NOT NULL"),
        ),
        # cancels on their way to a worker: as good as always empty
        Index(
            PREFIX + "jobs_cancelling",
            "worker_id",
            postgresql_where=text("cancel_requested_at IS NOT NULL AND ended_at IS NULL"),
            sqlite_where=text("cancel_requested_at IS NOT NULL AND ended_at IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True))  #: FIFO in a priority
    queue_id: Mapped[int]
    task_id: Mapped[int]
    state: Mapped[str]
    priority: Mapped[int] = mapped_column(SmallInteger)
    version: Mapped[int]  #: number of the last history row
    created_at: Mapped[datetime]
    runs_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    # seconds from the start: what a repeat keeps of its job's dates
    starts_at: Mapped[datetime | None]  #: its first `runs_at`, if it repeats
    stuck_after: Mapped[float | None] = mapped_column(Double)
    expires_after: Mapped[float | None] = mapped_column(Double)
    runs_after: Mapped[float | None] = mapped_column(Double)  #: seconds, from when it waits no more
    repeats_after_fail: Mapped[float | None] = mapped_column(Double)
    repeats_after_complete: Mapped[float | None] = mapped_column(Double)
    repeat_of: Mapped[UUID | None]  #: the ended job whose repeat it is
    begun_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(LongText)
    attempt: Mapped[int]  #: grows at begin, never shrinks
    failures: Mapped[int]
    losses: Mapped[int]
    lost_deliveries: Mapped[int]
    max_retries: Mapped[int | None]
    max_losses: Mapped[int]
    lease_id: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]  #: NULL unless leased
    rescued_from: Mapped[str | None]  #: the state the last lease was rescued from, while it may be reclaimed
    worker_id: Mapped[int | None]
    instance_id: Mapped[UUID | None]
    owner_type: Mapped[str | None]
    owner_id: Mapped[str | None]
    client_id: Mapped[int | None]  #: the client that enqueued it
    parent_id: Mapped[UUID | None]  #: the job whose task enqueued it
    root_id: Mapped[UUID | None]  #: the first of that line
    unique_key: Mapped[str | None]  #: as given; kept for when the ended job is tried again
    live_key: Mapped[str | None]  #: the same while the job lives
    bounded_queue_id: Mapped[int | None]
    has_attachment: Mapped[bool]

    queue: Mapped[Queue] = relationship(
        primaryjoin="foreign(Job.queue_id) == Queue.id", viewonly=True, lazy="select"
    )
    task: Mapped[TaskName] = relationship(
        primaryjoin="foreign(Job.task_id) == TaskName.id", viewonly=True, lazy="select"
    )
    transitions: Mapped[list[Transition]] = relationship(
        primaryjoin="foreign(Transition.job_id) == Job.id",
        order_by="Transition.seq",
        viewonly=True,
        lazy="select",
    )


class Edge(Base):
    """A job's wait for another; once that has ended it says whether what was waited for has come."""

    __tablename__ = PREFIX + "edges"
    __table_args__ = (
        # only who asks by downstream names the predicate: an edge is found by its key, whatever is planned
        Index(
            PREFIX + "edges_downstream",
            "downstream_id",
            "kind",
            "met",
            postgresql_where=text("position >= 0"),
            sqlite_where=text("position >= 0"),
        ),
    )

    upstream_id: Mapped[UUID] = mapped_column(primary_key=True)
    downstream_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]  #: chain, chord, error or replacement
    passes: Mapped[bool]  #: whether the result goes along, or what failed
    position: Mapped[int]  #: of the result among those that go along; -1: of one that was replaced since
    opens: Mapped[int] = mapped_column(SmallInteger)  #: brackets before the result
    closes: Mapped[int] = mapped_column(SmallInteger)  #: and behind it
    met: Mapped[bool | None]  #: NULL: the upstream job goes on


class JobArgs(Base):
    """A job's arguments (JSON): beside the job, so that changing its state does not copy them."""

    __tablename__ = PREFIX + "job_args"

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    args: Mapped[str] = mapped_column(LongText)


class JobResult(Base):
    """A job's result (JSON); it has a retention of its own, and is NULL once that is over."""

    __tablename__ = PREFIX + "job_results"
    __table_args__ = (
        Index(
            PREFIX + "job_results_kept",
            "at",
            postgresql_where=text("result IS NOT NULL"),
            sqlite_where=text("result IS NOT NULL"),
        ),
    )

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    result: Mapped[str | None] = mapped_column(LongText)
    at: Mapped[datetime]


class JobProgress(Base):
    """What the task under a lease last said of itself; it means nothing once the lease has ended."""

    __tablename__ = PREFIX + "progress"

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    lease_id: Mapped[UUID]
    number: Mapped[int]  #: of what this worker said: what comes late is not taken
    state: Mapped[str]
    meta: Mapped[str] = mapped_column(LongText)  #: JSON


class Transition(Base):
    """One row of history: what, when, by whom, in which attempt, under which lease, with the full error."""

    __tablename__ = PREFIX + "history"
    __table_args__ = (
        # tells a stale lease (409) from a foreign one (404)
        Index(
            PREFIX + "history_lease",
            "lease_id",
            postgresql_where=text("event = 'claim'"),
            sqlite_where=text("event = 'claim'"),
        ),
        {"sqlite_with_rowid": False},
    )

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    from_state: Mapped[str | None]
    to_state: Mapped[str]
    event: Mapped[str]
    attempt: Mapped[int]
    actor: Mapped[str]
    lease_id: Mapped[UUID | None]
    at: Mapped[datetime]
    reason: Mapped[str | None] = mapped_column(LongText)
    error: Mapped[str | None] = mapped_column(LongText)


class JobFile(Base):
    """A file of a job: its attachment, or one a task saved. The bytes are in storage, under `key`."""

    __tablename__ = PREFIX + "files"

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)  #: attachment or result
    name: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[UUID] = mapped_column(index=True)  #: a job and its repeats share their attachment's bytes
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    content_type: Mapped[str]
    lease_id: Mapped[UUID | None]
    created_at: Mapped[datetime]
