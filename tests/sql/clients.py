"""Clients of a store that note what they were told, for the checker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from outsourced.errors import BackendUnavailable, OutsourcedError, QueueBusy
from outsourced.records import Lease, NewJob, OutcomeKind, SettledStatus
from outsourced.sql.backend import SqlBackend
from outsourced.sql.task_producer import TaskProducer
from tests.checker import Call
from tests.sql.conftest import Site, held


@dataclass
class _Note:
    status: str = "ok"
    code: str | None = None


@dataclass
class Client:
    """A producer and a worker in one. Each of its acts is noted as it saw it."""

    backend: SqlBackend
    site: Site
    calls: list[Call] = field(default_factory=list)

    def enqueue(self, *jobs: NewJob) -> str:
        """Gives the call's status, whatever became of it."""
        with self._noted(jobs) as note:
            self.backend.enqueue(jobs)
        return note.status

    def enqueue_under(self, lease: Lease, *jobs: NewJob) -> str:
        """Likewise, as the task under this lease."""
        with self._noted(jobs) as note:
            TaskProducer(self.backend, self.site.identity, lease).enqueue(jobs)
        return note.status

    def enqueue_joined(self, host: Engine, *jobs: NewJob, commit: bool = True) -> str:
        """Likewise, in a transaction of the client's own; it is rolled back where it is not to commit."""
        with self._noted(jobs, joined=True) as note, Session(host) as session:
            self.backend.enqueue(jobs, session=session)
            if commit:
                session.commit()
            else:
                session.rollback()
                note.status = "fail"
        return note.status

    @contextmanager
    def _noted(self, jobs: Sequence[NewJob], *, joined: bool = False) -> Iterator[_Note]:
        note, began = _Note(), self._now()
        try:
            yield note
        except OutsourcedError as error:
            unsure = isinstance(error, BackendUnavailable) and not isinstance(error, QueueBusy)
            note.status, note.code = "info" if unsure else "fail", error.code
        told = {"queue": jobs[0].queue, "code": note.code, "at": (began, self._now()), "asked": len(jobs)}
        self.calls += [
            Call(kind="enqueue", status=note.status, job_id=job.id, joined=joined, **told) for job in jobs
        ]

    def claim(self, slots: int = 10, claim_id: UUID | None = None) -> Sequence[Lease]:
        began = self._now()
        leases = self.site.claim(slots, claim_id)
        told = {"key": None if claim_id is None else str(claim_id), "at": (began, self._now())}
        self.calls += [
            Call(kind="claim", status="ok", job_id=lease.job_id, lease_id=lease.id, **told)
            for lease in leases
        ]
        return leases

    def renew(self, lease: Lease) -> None:
        began = self._now()
        commands = self.site.say(held=(held(lease),)).commands
        self._note("renew", "fail" if commands else "ok", lease, began)

    def settle(self, lease: Lease, kind: OutcomeKind, **more: object) -> None:
        """Reports an outcome; where no answer comes, that is noted and all."""
        began, status = self._now(), "info"
        try:
            (settled,) = self.site.settle(lease, kind, **more).settled
            status = "fail" if settled.status is SettledStatus.REFUSED else "ok"
        except BackendUnavailable:
            pass
        self._note("settle", status, lease, began)

    def cancel(self, job_id: UUID) -> None:
        began = self._now()
        self.backend.cancel(job_id)
        self.calls.append(Call(kind="cancel", status="ok", job_id=job_id, at=(began, self._now())))

    def _note(self, kind: str, status: str, lease: Lease, began: datetime) -> None:
        at = (began, self._now())
        self.calls.append(Call(kind=kind, status=status, job_id=lease.job_id, lease_id=lease.id, at=at))

    def _now(self) -> datetime:
        database = self.backend.database
        with database.connect() as connection:
            return database.now(connection)
