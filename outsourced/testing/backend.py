"""`MemoryBackend`: a whole store of jobs in memory, for tests of code that enqueues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from datetime import timedelta
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Self
from uuid import UUID, uuid4

from outsourced import backend
from outsourced.backend import Producer
from outsourced.callbacks import callbacks_of
from outsourced.errors import InvalidTransition, KeyTaken, NotFound
from outsourced.execution import Around, execute, telling
from outsourced.records import ExchangeRequest, Held, Instance, Job, Lease
from outsourced.registry import Registry
from outsourced.registry import registry as registered
from outsourced.states import TERMINAL, State
from outsourced.testing import following, moves
from outsourced.testing.consumer import MemoryConsumer
from outsourced.testing.kept import KeptJob, KeptWorker
from outsourced.testing.people import ADMIN, Queues, Workers
from outsourced.testing.producer import MemoryProducer
from outsourced.testing.store import Store

#: the name of the queue there is from the start
DEFAULT_QUEUE = "default"
#: live jobs an owner may have, by its type
NO_LIMITS: Mapping[str, int] = MappingProxyType({})
#: how long a lease is good without being renewed
LEASE_TTL = timedelta(seconds=60)
#: the worker that `drain` is, in history
DRAINER = "drain"
#: jobs that one `drain` runs, before it takes them for a task that enqueues itself for ever
MOST_DRAINED = 10_000


class MemoryBackend(MemoryProducer):
    """Jobs, queues, workers, leases and history by the same rules as the databases', without one.

    As a context manager it is in force inside the block: `delay()` and its kin enqueue into it.
    Nothing runs by itself: `drain` runs what is ready, in this thread. It begins with one queue, for
    jobs that name none.
    """

    def __init__(
        self,
        *,
        default_queue: str = DEFAULT_QUEUE,
        lease_ttl: timedelta = LEASE_TTL,
        owner_limits: Mapping[str, int] = NO_LIMITS,
    ) -> None:
        super().__init__(Store(lease_ttl=lease_ttl, owner_limits=owner_limits), actor="server")
        self.queues = Queues(self._store)
        self.workers = Workers(self._store)
        self.queues.create(default_queue)
        self._blocks = ExitStack()

    def __enter__(self) -> Self:
        self._blocks.enter_context(backend.use(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        self._blocks.close()

    def jobs(
        self, *, task: str | None = None, queue: str | None = None, state: State | str | None = None
    ) -> list[Job]:
        """The jobs, oldest first; of this task, queue and state."""
        wanted = {"task": task, "queue": queue, "state": state}
        with self._store.changed:
            return [
                kept.snapshot()
                for kept in self._store.jobs.values()
                if all(value is None or getattr(kept.job, name) == value for name, value in wanted.items())
            ]

    def retry(self, job_id: UUID) -> Job:
        """Tries an ended job again; raises NotFound, InvalidTransition, QueueFull or KeyTaken."""
        with self._store.changed:
            kept = self._store.jobs.get(job_id)
            if kept is None:
                raise NotFound("there is no such job", job_id=str(job_id))
            if kept.is_live:
                moves.retry(self._store, kept, actor=ADMIN)  # refuses it
            _require_filled(kept)
            revived = following.revived(self._store, kept)
            self._require_room(Counter(one.job.queue for one in (kept, *revived)))
            for one in (kept, *revived):
                self._require_key(one)
            following.revive(self._store, kept, revived, actor=ADMIN)
            moves.retry(self._store, kept, actor=ADMIN)
            return kept.snapshot()

    def _require_key(self, kept: KeptJob) -> None:
        if kept.unique_key is not None and any(
            other.is_live and other.unique_key == kept.unique_key for other in self._store.jobs.values()
        ):
            raise KeyTaken("a live job holds this job's unique key now", job_id=str(kept.job.id))

    def limit_task(self, task: str, limit: str | float | None) -> None:
        """Begins no more jobs of the task than `10/m`, say; 0 and None: as many as there are."""
        with self._store.changed:
            self._store.limit("task", task, limit)

    def limit_queue(self, queue: str, limit: str | float | None) -> None:
        """Begins no more jobs of the queue, likewise; raises UnknownQueue."""
        with self._store.changed:
            self._store.limit("queue", self._store.queue(queue).name, limit)

    def consumer(self, worker: str) -> MemoryConsumer:
        """The side of a worker that was created; raises NotFound."""
        return MemoryConsumer(self._store, self._store.worker(worker))

    def pass_time(self, time: timedelta | float) -> None:
        """Moves the clock on, by a duration or by seconds; `tick` and `drain` then find what is due."""
        with self._store.changed:
            self._store.offset += time if isinstance(time, timedelta) else timedelta(seconds=time)
            self._store.changed.notify_all()

    def tick(self) -> None:
        """Does what servers do in the background: promotes, rescues and expires what is due."""
        with self._store.changed:
            moves.tick(self._store)

    def drain(self, registry: Registry = registered, *, around: Around = nullcontext) -> list[Job]:
        """Runs the jobs that are ready, and those they enqueue, until none is; gives them as they ended.

        Runs them as a worker does, in this thread, smaller priorities first, whatever rate limits say. Jobs
        of paused queues, of tasks not registered here and of a later date stay. A job that is tried again
        at once is run again, and given again. What `on_job_end` has registered is called when one has ended
        for good.
        `around()` makes what surrounds each call, such as `app.app_context`.
        Raises RuntimeError where they would never end.
        """
        drainer = KeptWorker(name=DRAINER, hired=set(self._store.queues), is_unlimited=True)
        consumer = MemoryConsumer(self._store, drainer)
        say = partial(ExchangeRequest, instance=Instance(id=uuid4(), host="", pid=0, version=""))
        ended: list[Job] = []
        while leases := consumer.exchange(say(claim_id=uuid4(), slots=1, tasks=registry.runnable())).leases:
            if len(ended) == MOST_DRAINED:
                raise RuntimeError(
                    f"{MOST_DRAINED:,} jobs have run and there are more: does one enqueue itself?"
                )
            (lease,) = leases
            consumer.exchange(say(begun=(Held(lease_id=lease.id, job_id=lease.job_id),)))
            with backend.use(self._producer_of(consumer, lease)):  # the block's own backend would come first
                tell = telling(lease, lambda told: consumer.exchange(say(progress=(told,))))
                outcome = execute(lease, registry, consumer, around=around, tell=tell)
            consumer.exchange(say(outcomes=(outcome,)))
            job = self._store.jobs[lease.job_id].snapshot()
            _tell(job, around)
            ended.append(job)
        return ended

    def _producer_of(self, consumer: MemoryConsumer, lease: Lease) -> Producer:
        """What the task under this lease enqueues with."""
        return consumer.producer(lease)


def _require_filled(kept: KeptJob) -> None:
    if not following.is_filled(kept):
        raise InvalidTransition(
            "it waited for jobs of which one did not complete, and was never given their results: "
            "retry that one, and this one waits for it again",
            job_id=str(kept.job.id),
        )


def _tell(job: Job, around: Around) -> None:
    if job.owner is not None and job.state in TERMINAL:
        for callback in callbacks_of(job.owner.type):
            with around():
                callback(job)
