"""What a backend shows the suite: producers, workers, people and a clock, whatever is behind them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from uuid import UUID, uuid4

import uuid6

from outsourced import payload
from outsourced.backend import Consumer, OwnerView, Producer
from outsourced.records import (
    ExchangeReply,
    ExchangeRequest,
    Failure,
    Held,
    Instance,
    Job,
    Lease,
    NewJob,
    Outcome,
    OutcomeKind,
    Settled,
)
from outsourced.states import Event, State

#: the task that the workers know
TASK = "tasks.add"
#: how long a lease lasts on every stage
TTL = 60.0
ADMIN = "admin:test"
#: live jobs that owners may have, by their type, on every stage
OWNER_LIMITS = {"Film": 2}
FAILURE = Failure(type="ValueError", message="no", traceback="…", causes=(("KeyError", "'k'"),))

JobsOfFired = Literal["finish", "release", "cancel"]


class Stage(Protocol):
    """A store with the queues `plain`, the default, and `small`, of 3 places; `near` and `far` work both."""

    producer: Producer
    owners: OwnerView
    actor: str  #: whoever enqueues by `producer`, as history names them
    refuses_unknown_queues: type[Exception]

    def consumer(self, worker: str) -> Consumer: ...

    def create_queue(self, name: str, capacity: int | None = None) -> None: ...

    def pause_queue(self, name: str) -> None: ...

    def resume_queue(self, name: str) -> None: ...

    def hire(self, worker: str, queue: str) -> None: ...

    def fire(self, worker: str, queue: str, jobs: JobsOfFired = "finish") -> None: ...

    def lock(self, worker: str) -> None: ...

    def unlock(self, worker: str) -> None: ...

    def pause(self, worker: str) -> None: ...

    def resume(self, worker: str) -> None: ...

    def retry(self, job_id: UUID) -> Job: ...

    def limit_task(self, task: str, limit: str | float | None) -> None: ...

    def limit_queue(self, queue: str, limit: str | float | None) -> None: ...

    def pass_time(self, seconds: float) -> None:
        """Moves the store's clock on."""

    def tick(self) -> None:
        """Promotes, rescues and expires what is due."""


def staff(stage: Stage) -> None:
    """Adds the queue `small` to `plain`, which is there, and hires the workers, who are."""
    stage.create_queue("small", 3)
    for worker in ("near", "far"):
        for queue in ("plain", "small"):
            stage.hire(worker, queue)


@dataclass
class Site:
    """A worker at work."""

    consumer: Consumer
    instance: Instance = field(default_factory=lambda: Instance(id=uuid4(), host="here", pid=1, version="0"))

    def say(self, **said: Any) -> ExchangeReply:
        return self.consumer.exchange(ExchangeRequest(instance=self.instance, **said))

    def claim(self, slots: int = 10, *, claim_id: UUID | None = None) -> tuple[Lease, ...]:
        return self.say(claim_id=claim_id or uuid4(), slots=slots, tasks=(TASK,)).leases

    def begin(self, *leases: Lease) -> ExchangeReply:
        return self.say(begun=tuple(held(lease) for lease in leases))

    def keep(self, *leases: Lease) -> ExchangeReply:
        """A heartbeat."""
        return self.say(held=tuple(held(lease) for lease in leases))

    def settle(self, lease: Lease, kind: OutcomeKind, **more: Any) -> Settled:
        (settled,) = self.say(outcomes=(outcome(lease, kind, **more),)).settled
        return settled


def held(lease: Lease) -> Held:
    return Held(lease_id=lease.id, job_id=lease.job_id, begun_at=time.monotonic())


def outcome(lease: Lease, kind: OutcomeKind, **more: Any) -> Outcome:
    return Outcome(lease_id=lease.id, job_id=lease.job_id, kind=kind, **{"ran_for": 0.1, **more})


def new_job(**options: Any) -> NewJob:
    return NewJob(
        **{
            "id": UUID(int=uuid6.uuid7().int),
            "task": TASK,
            "payload": payload.encode_call((1, 2), {}),
            **options,
        }
    )


def enqueue(stage: Stage, count: int = 1, **options: Any) -> list[UUID]:
    """So many jobs alike; gives their ids."""
    jobs = [new_job(**options) for _ in range(count)]
    stage.producer.enqueue(jobs)
    return [job.id for job in jobs]


def job_of(stage: Stage, job_id: UUID) -> Job:
    job = stage.producer.job(job_id)
    assert job is not None
    return job


def state_of(stage: Stage, job_id: UUID) -> State:
    return job_of(stage, job_id).state


def events_of(stage: Stage, job_id: UUID) -> list[Event]:
    return [row.event for row in stage.producer.history(job_id)]


def leased(stage: Stage, site: Site, **options: Any) -> Lease:
    """A fresh job in the worker's hands."""
    enqueue(stage, **options)
    (lease,) = site.claim()
    return lease


def begun(stage: Stage, site: Site, **options: Any) -> Lease:
    """A fresh job that the worker has begun."""
    lease = leased(stage, site, **options)
    site.begin(lease)
    return lease
