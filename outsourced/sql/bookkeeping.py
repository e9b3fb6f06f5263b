"""The tables beside the jobs: what an installation notes down for itself, to go on with whatever happens.

For reading; writing goes through verbs, as with `models`.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Float, Index
from sqlalchemy.orm import Mapped, mapped_column

from outsourced.sql.base import PREFIX, Base, BigId, LongText


class Installation(Base):
    """The one row that tells this deployment from every other."""

    __tablename__ = PREFIX + "installation"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    uuid: Mapped[UUID]
    url: Mapped[str | None] = mapped_column(LongText)
    signing_key: Mapped[str | None] = mapped_column(
        LongText
    )  #: private JWK, encrypted under the app's SECRET_KEY
    created_at: Mapped[datetime]
    alive_at: Mapped[datetime | None]  #: last tick of any server's janitor
    resumed_at: Mapped[datetime | None]  #: end of the last gap in which no server ran
    storage_id: Mapped[UUID | None]  #: the mark in the storage that has our files; NULL: none has been marked


class Duty(Base):
    """When a background duty last ran: one process takes each tick by a conditional UPDATE."""

    __tablename__ = PREFIX + "duties"

    name: Mapped[str] = mapped_column(primary_key=True)
    ran_at: Mapped[datetime]
    seconds: Mapped[float] = mapped_column(Float, default=0.0)


class Audit(Base):
    """An act of a person, written in the act's own transaction."""

    __tablename__ = PREFIX + "audit"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    act: Mapped[str]
    subject: Mapped[str]
    details: Mapped[str] = mapped_column(LongText)


class Reply(Base):
    """What a request was answered, kept for a day so that the same request again gets the same answer."""

    __tablename__ = PREFIX + "replies"

    caller: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str | None]
    reply: Mapped[str | None] = mapped_column(LongText)
    at: Mapped[datetime] = mapped_column(index=True)


class Group(Base):
    """The results of a group that somebody saved, by their ids, to be restored elsewhere."""

    __tablename__ = PREFIX + "groups"

    scope: Mapped[str] = mapped_column(primary_key=True)  #: whose it is
    id: Mapped[UUID] = mapped_column(primary_key=True)
    members: Mapped[str] = mapped_column(LongText)  #: as `GroupResult.as_tuple`, in JSON
    at: Mapped[datetime] = mapped_column(index=True)


class Schedule(Base):
    """A recurring job: what is enqueued at each tick, and when the next one is due."""

    __tablename__ = PREFIX + "schedules"

    name: Mapped[str] = mapped_column(primary_key=True)
    declared_by: Mapped[str]  #: the app whose configuration it is from
    task: Mapped[str]
    spec: Mapped[str] = mapped_column(LongText)  #: as `outsourced.schedules.parse` reads it
    zone: Mapped[str]
    args: Mapped[str] = mapped_column(LongText)  #: of each job, as in `JobArgs`
    options: Mapped[str] = mapped_column(LongText)  #: of each job (JSON)
    paused: Mapped[bool] = mapped_column(default=False)
    due_at: Mapped[datetime]  #: of the next tick
    ticked_at: Mapped[datetime | None]
    last_job_id: Mapped[UUID | None]  #: of the last tick; NULL: it was skipped
    skipped: Mapped[str | None] = mapped_column(LongText)  #: why the last tick made no job


class Listener(Base):
    """A type of owners with callbacks, and when a process that has them last said so."""

    __tablename__ = PREFIX + "listeners"

    owner_type: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime]


class Ending(Base):
    """The end of an owner's job that callbacks are still to hear of; written with the end itself."""

    __tablename__ = PREFIX + "endings"
    __table_args__ = (Index(PREFIX + "endings_due", "owner_type", "due_at"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    job_id: Mapped[UUID]
    owner_type: Mapped[str]
    tries: Mapped[int]
    due_at: Mapped[datetime]  #: of the next try; while one is made, when it counts as lost
