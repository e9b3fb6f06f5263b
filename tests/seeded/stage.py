"""What a workload plays on: a store with two workers, and notes of what its clients were told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from outsourced.errors import BackendUnavailable, OutsourcedError, QueueBusy, QueueFull
from outsourced.records import Lease, NewJob, OutcomeKind, SettledStatus, WorkerIdentity
from outsourced.sql.backend import SqlBackend
from outsourced.sql.database import Database
from tests.checker import Call, Violation, check
from tests.sql.conftest import Site, held, pass_time, read, staff


@dataclass
class Stage:
    """The clients' side of a workload: each act is noted as the client saw it."""

    database: Database
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        staff(self.database)
        self.backend = SqlBackend(self.database)
        self.near = Site(self.backend, WorkerIdentity(id=1, name="near", epoch=0))

    def enqueue(self, *jobs: NewJob) -> str:
        """Gives the call's status, whatever became of it."""
        began, status, code = self._now(), "ok", None
        try:
            self.backend.enqueue(jobs)
        except OutsourcedError as error:
            sure = isinstance(error, (QueueFull, QueueBusy)) or not isinstance(error, BackendUnavailable)
            status, code = "fail" if sure else "info", error.code
        told = {"queue": jobs[0].queue, "code": code, "at": (began, self._now()), "asked": len(jobs)}
        self.calls += [Call(kind="enqueue", status=status, job_id=job.id, **told) for job in jobs]
        return status

    def claim(self, slots: int = 10, claim_id: UUID | None = None) -> Sequence[Lease]:
        began = self._now()
        leases = self.near.claim(slots, claim_id)
        told = {"key": None if claim_id is None else str(claim_id), "at": (began, self._now())}
        self.calls += [
            Call(kind="claim", status="ok", job_id=lease.job_id, lease_id=lease.id, **told)
            for lease in leases
        ]
        return leases

    def renew(self, lease: Lease) -> None:
        began = self._now()
        commands = self.near.say(held=(held(lease),)).commands
        self._note("renew", "fail" if commands else "ok", lease, began)

    def settle(self, lease: Lease, kind: OutcomeKind, **more: object) -> None:
        began = self._now()
        (settled,) = self.near.settle(lease, kind, **more).settled
        status = "fail" if settled.status is SettledStatus.REFUSED else "ok"
        self._note("settle", status, lease, began)

    def cancel(self, job: NewJob) -> None:
        began = self._now()
        self.backend.cancel(job.id)
        self.calls.append(Call(kind="cancel", status="ok", job_id=job.id, at=(began, self._now())))

    def later(self, seconds: float) -> None:
        pass_time(self.backend, seconds)

    def violations(self) -> list[Violation]:
        """What the checker has to say in the end."""
        return check(read(self.database), calls=self.calls, quiesced=False, lease_ttl=self.backend.lease_ttl)

    def _note(self, kind: str, status: str, lease: Lease, began: datetime) -> None:
        at = (began, self._now())
        self.calls.append(Call(kind=kind, status=status, job_id=lease.job_id, lease_id=lease.id, at=at))

    def _now(self) -> datetime:
        with self.database.connect() as connection:
            return self.database.now(connection)
