"""A whole Consumer in memory: obeys leases, parks polls, and fails on command as a network does."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from outsourced.errors import AuthenticationFailed, BackendUnavailable, InvalidRequest, WorkerLocked
from outsourced.records import (
    Command,
    CommandKind,
    ExchangeReply,
    ExchangeRequest,
    Lease,
    Outcome,
    OutcomeKind,
    Settled,
    SettledStatus,
    StoredFile,
    Told,
)


@dataclass
class FakeJob:
    """A job as the fake server sees it."""

    id: UUID
    task: str
    args: list[Any]
    options: dict[str, Any]
    lease: Lease | None = None
    begun: bool = False
    cancel: bool = False
    outcome: Outcome | None = None
    deliveries: int = 0
    releases: int = 0
    begins: int = 0
    beats: int = 0
    told: list[Told] = field(default_factory=list)


@dataclass
class FakeServer:
    """Implements Consumer; `ttl` goes into the leases."""

    ttl: float = 60.0
    jobs: dict[UUID, FakeJob] = field(default_factory=dict)
    requests: list[ExchangeRequest] = field(default_factory=list)
    missed: list[ExchangeRequest] = field(default_factory=list)  #: sent while the server was down
    keep_requests: bool = True
    locked: bool = False
    revoked: bool = False
    down: bool = False
    lose_answers: int = 0  #: so many answers get lost after they took effect, every other one
    refuse_result: str | None = None  #: a request with this result is not read

    def __post_init__(self) -> None:
        self._ready: deque[FakeJob] = deque()
        self._by_lease: dict[UUID, FakeJob] = {}
        self._claims: dict[UUID, tuple[Lease, ...]] = {}
        self._settled: dict[UUID, Outcome] = {}
        self._condition = threading.Condition()
        self._poll = 0
        self._lost_last = False

    # --- the test's side

    def enqueue(self, task: str, *args: Any, count: int = 1, **options: Any) -> list[FakeJob]:
        jobs = [FakeJob(uuid4(), task, list(args), options) for _ in range(count)]
        with self._condition:
            self.jobs.update((job.id, job) for job in jobs)
            self._ready.extend(jobs)
            self._condition.notify_all()
        return jobs

    def cancel(self, job: FakeJob) -> None:
        with self._condition:
            job.cancel = True
            self._condition.notify_all()

    def take_lease(self, job: FakeJob) -> None:
        """Ends a lease behind the worker's back."""
        with self._condition:
            assert job.lease is not None
            del self._by_lease[job.lease.id]
            job.lease = None
            self._condition.notify_all()

    def change(self, **values: Any) -> None:
        with self._condition:
            for name, value in values.items():
                setattr(self, name, value)
            self._condition.notify_all()

    def wait_for(self, fact: Any, timeout: float = 20.0) -> None:
        with self._condition:
            assert self._condition.wait_for(fact, timeout), "the fact did not come true in time"

    def wait_ended(self, *jobs: FakeJob, timeout: float = 20.0) -> None:
        self.wait_for(lambda: all(job.outcome for job in jobs or self.jobs.values()), timeout)

    def kinds(self) -> list[str]:
        return [str(job.outcome.kind) if job.outcome else "none" for job in self.jobs.values()]

    @property
    def leased(self) -> int:
        return len(self._by_lease)

    # --- Consumer

    def exchange(self, request: ExchangeRequest) -> ExchangeReply:
        with self._condition:
            self._refuse(request)
            if self.keep_requests:
                self.requests.append(request)
                self._condition.notify_all()
            settled = tuple(self._settle(outcome) for outcome in request.outcomes)
            commands = self._hear(request)
            leases = self._wait(request) if request.wait else self._claim(request)
            if request.wait:
                commands += self._commands()
            self._condition.notify_all()
            self._refuse(request)
            if self.lose_answers and not self._lost_last:
                self.lose_answers -= 1
                self._lost_last = True
                raise BackendUnavailable("the answer was lost")
            self._lost_last = False
            return ExchangeReply(leases=leases, settled=settled, commands=commands or self._commands())

    def fetch_attachment(self, lease: Lease, target: Path) -> None:
        target.write_bytes(b"attached")

    def save_file(self, lease: Lease, name: str, source: Path, content_type: str) -> StoredFile:
        return StoredFile(name=name, size=source.stat().st_size, sha256="", content_type=content_type)

    def close(self) -> None:
        """Nothing to close."""

    # --- inside

    def _refuse(self, request: ExchangeRequest) -> None:
        if self.down:
            self.missed.append(request)
            self._condition.notify_all()
            raise BackendUnavailable("connection refused")
        if self.revoked:
            raise AuthenticationFailed("revoked")
        if self.locked:
            for job in list(self._by_lease.values()):
                self._release(job)
            raise WorkerLocked("locked out")
        if any(self.refuse_result and outcome.result == self.refuse_result for outcome in request.outcomes):
            raise InvalidRequest("this result is refused")

    def _settle(self, outcome: Outcome) -> Settled:
        if outcome.lease_id in self._settled:
            return Settled(lease_id=outcome.lease_id, status=SettledStatus.REPLAYED)
        job = self._by_lease.get(outcome.lease_id)
        if job is None:
            return Settled(lease_id=outcome.lease_id, status=SettledStatus.REFUSED, code="lease_lost")
        self._settled[outcome.lease_id] = outcome
        if outcome.kind is OutcomeKind.RELEASED and not job.cancel:
            job.releases += 1
            self._release(job)
        else:
            del self._by_lease[outcome.lease_id]
            job.outcome = outcome
        return Settled(lease_id=outcome.lease_id, status=SettledStatus.RECORDED)

    def _release(self, job: FakeJob) -> None:
        assert job.lease is not None
        del self._by_lease[job.lease.id]
        job.lease = None
        self._ready.append(job)

    def _hear(self, request: ExchangeRequest) -> tuple[Command, ...]:
        lost = []
        for held in request.begun:
            job = self._by_lease.get(held.lease_id)
            if job:
                job.begun = True
                job.begins += 1
            else:
                lost.append(Command(kind=CommandKind.LOST, lease_id=held.lease_id))
        for held in request.held or ():
            job = self._by_lease.get(held.lease_id)
            if job:
                job.beats += 1
            elif held.lease_id not in self._settled:
                lost.append(Command(kind=CommandKind.LOST, lease_id=held.lease_id))
        for told in request.progress:
            if told.lease_id in self._by_lease:
                self._by_lease[told.lease_id].told.append(told)
        return tuple(lost)

    def _commands(self) -> tuple[Command, ...]:
        return tuple(
            Command(kind=CommandKind.CANCEL, lease_id=lease_id)
            for lease_id, job in self._by_lease.items()
            if job.cancel
        )

    def _wait(self, request: ExchangeRequest) -> tuple[Lease, ...]:
        self._poll += 1
        mine, until = self._poll, time.monotonic() + request.wait
        while True:
            leases = self._claim(request)
            left = until - time.monotonic()
            if leases or left <= 0 or self._poll != mine or self._commands() or self._shut:
                return leases
            self._condition.wait(left)

    @property
    def _shut(self) -> bool:
        return self.down or self.locked or self.revoked

    def _claim(self, request: ExchangeRequest) -> tuple[Lease, ...]:
        if request.claim_id is None:
            return ()
        if request.claim_id not in self._claims:
            count = min(request.slots, len(self._ready))
            leases = tuple(self._lease(self._ready.popleft()) for _ in range(count))
            if not leases:
                return ()
            self._claims[request.claim_id] = leases
        return self._claims[request.claim_id]

    def _lease(self, job: FakeJob) -> Lease:
        job.deliveries += 1
        job.lease = Lease(
            id=uuid4(),
            job_id=job.id,
            task=job.task,
            payload={"args": job.args, "kwargs": {}},
            queue="q",
            attempt=job.deliveries,
            failures=0,
            max_retries=3,
            ttl=self.ttl,
            **job.options,
        )
        self._by_lease[job.lease.id] = job
        return job.lease
