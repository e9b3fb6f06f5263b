"""Memory and SQLite, told the same things in any order, tell the same of every job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from outsourced.errors import OutsourcedError
from outsourced.following import ACCUMULATE
from outsourced.records import Changed, ExchangeReply, Lease, NewJob, OutcomeKind, Owner, Progress, Told
from outsourced.sql.database import Database
from tests.backends.sql_stage import SqlStage
from tests.backends.stage import FAILURE, TASK, TTL, Site, Stage, new_job, staff
from tests.backends.test_memory import MemoryStage
from tests.databases import SqliteTemplate

pytestmark = pytest.mark.slow

#: whose jobs they are: only an owner can be asked for the repeats that a stage has made
ORDER, FILM = Owner(type="Order", id="7"), Owner(type="Film", id="7")
WORKERS, QUEUES = ("near", "far"), ("plain", "small")
KINDS = list(OutcomeKind)

#: the name of a step, and what it is given
Step = tuple[str, tuple[Any, ...]]


def step(name: str, *given: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.tuples(*given))


number, worker, queue = st.integers(0, 30), st.sampled_from(WORKERS), st.sampled_from(QUEUES)
options = st.fixed_dictionaries(
    {},
    optional={
        "queue": queue,
        "priority": st.integers(-1, 1),
        "runs_in": st.just(timedelta(seconds=15)),
        "expires_in": st.sampled_from([timedelta(seconds=25), timedelta(seconds=90)]),
        "unique_key": st.sampled_from("kl"),
        "max_retries": st.sampled_from([0, 1, None]),
        "max_losses": st.integers(0, 1),
        "owner": st.just(FILM),
        "stuck_after": st.just(timedelta(seconds=20)),
        "repeats_after_fail": st.just(timedelta(seconds=35)),
        "repeats_after_complete": st.just(timedelta(seconds=35)),
    },
)
STEPS = st.one_of(
    step("enqueue", st.lists(options, min_size=1, max_size=3)),
    step("claim", worker, st.integers(1, 3)),
    step("begin", worker, number),
    step("keep", worker, number),
    step("settle", worker, number, st.sampled_from(KINDS), st.sampled_from([0.0, 20.0])),
    step("settle", worker, number, st.sampled_from(KINDS), st.sampled_from([0.0, 20.0])),
    step("replace", worker, number, st.booleans()),
    step("tell", worker, number, st.integers(1, 4)),
    step("forget", number),
    step("cancel", number),
    step("retry", number),
    step("hire", worker, queue),
    step("fire", worker, queue, st.sampled_from(["finish", "release", "cancel"])),
    step("person", st.sampled_from(["lock", "unlock", "pause", "resume"]), worker),
    step("person", st.sampled_from(["pause_queue", "resume_queue"]), queue),
    step("pass_time", st.sampled_from([10, 30, TTL + 1])),
)


@dataclass
class Player:
    """One stage, and what has been claimed on it; steps name jobs and leases by number."""

    stage: Stage
    sites: dict[str, Site] = field(init=False)
    jobs: list[UUID] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)

    def __post_init__(self) -> None:
        staff(self.stage)
        self.sites = {name: Site(self.stage.consumer(name)) for name in WORKERS}

    def play(self, name: str, given: tuple[Any, ...]) -> object:
        """What the step gave, or how it was refused."""
        try:
            return getattr(self, name)(*given)
        except OutsourcedError as error:
            return type(error)
        finally:
            self._find_repeats()

    def _find_repeats(self) -> None:
        """Numbers the jobs that are new, and have been enqueued by nobody."""
        found = (job for owner in (ORDER, FILM) for job in self.stage.owners.jobs_of(owner))
        new = {job.repeat_of: job.id for job in found if job.id not in self.jobs}
        self.jobs += [new[job_id] for job_id in self.jobs if job_id in new]

    def enqueue(self, *new: NewJob) -> None:
        self.stage.producer.enqueue(new)
        self.jobs += [job.id for job in new]

    def claim(self, worker: str, slots: int) -> object:
        for _ in range(2):  # what is rescued by the first is promoted by the second
            self.stage.tick()
        self._find_repeats()
        tasks = (TASK, ACCUMULATE)
        leases = self.sites[worker].say(claim_id=uuid4(), slots=slots, tasks=tasks).leases
        self.leases += leases
        return [
            (self.jobs.index(one.job_id), one.attempt, one.failures, one.confirm, one.max_retries)
            for one in leases
        ]

    def begin(self, worker: str, number: int) -> object:
        return self._say(number, self.sites[worker].begin)

    def keep(self, worker: str, number: int) -> object:
        return self._say(number, self.sites[worker].keep)

    def _say(self, number: int, say: Callable[[Lease], ExchangeReply]) -> object:
        if not self.leases:
            return None
        reply = say(self.leases[number % len(self.leases)])
        return sorted((one.kind, self._name(one.lease_id), one.reason or "") for one in reply.commands)

    def settle(self, worker: str, number: int, kind: OutcomeKind, delay: float) -> object:
        if not self.leases:
            return None
        lease = self.leases[number % len(self.leases)]
        error = FAILURE if kind in (OutcomeKind.FAILED, OutcomeKind.RETRY, OutcomeKind.LOST) else None
        changes = Changed(payload='{"args":[3,4],"kwargs":{}}', priority=1) if delay else None
        settled = self.sites[worker].settle(lease, kind, delay=delay, error=error, changes=changes)
        return settled.status, settled.code, settled.reason

    def replace(self, worker: str, number: int, ends_first: bool) -> object:
        """By a new child, which has perhaps ended before its parent says so."""
        if not self.leases:
            return None
        lease, site, child = self.leases[number % len(self.leases)], self.sites[worker], new_job(owner=ORDER)
        site.consumer.producer(lease).enqueue([child])
        self.jobs.append(child.id)
        if ends_first:
            self.claim(worker, 3)
            if self.leases[-1].job_id == child.id:
                site.settle(self.leases[-1], OutcomeKind.COMPLETED, result="5")
        settled = site.settle(lease, OutcomeKind.REPLACED, replaced_by=child.id)
        return settled.status, settled.code, settled.reason

    def tell(self, worker: str, number: int, order: int) -> None:
        if self.leases:
            lease = self.leases[number % len(self.leases)]
            progress = Progress(state="PROGRESS", meta=str(order))
            told = Told(lease_id=lease.id, job_id=lease.job_id, number=order, progress=progress)
            self.sites[worker].say(progress=(told,))

    def forget(self, number: int) -> None:
        if self.jobs:
            self.stage.producer.forget(self.jobs[number % len(self.jobs)])

    def cancel(self, number: int) -> None:
        if self.jobs:
            self.stage.producer.cancel(self.jobs[number % len(self.jobs)])

    def retry(self, number: int) -> None:
        if self.jobs:
            self.stage.retry(self.jobs[number % len(self.jobs)])

    def hire(self, worker: str, queue: str) -> None:
        self.stage.hire(worker, queue)

    def fire(self, worker: str, queue: str, jobs: Any) -> None:
        self.stage.fire(worker, queue, jobs)

    def person(self, verb: str, whom: str) -> None:
        getattr(self.stage, verb)(whom)

    def pass_time(self, seconds: float) -> None:
        self.stage.pass_time(seconds)

    def _name(self, lease_id: UUID | None) -> int | None:
        """A lease by the order of the claims: its id is each stage's own."""
        return next((at for at, lease in enumerate(self.leases) if lease.id == lease_id), None)

    def account(self) -> list[object]:
        """All that is told of every job, times aside."""
        return [self._account_of(job_id) for job_id in self.jobs]

    def _account_of(self, job_id: UUID) -> object:
        job = self.stage.producer.job(job_id)
        assert job is not None
        history = [
            (row.from_state, row.to_state, row.event, row.attempt, row.actor, self._name(row.lease_id),
             row.reason, row.error)
            for row in self.stage.producer.history(job_id)
        ]  # fmt: skip
        flags = (job.begun_at is None, job.ended_at is None, job.cancel_requested_at is None)
        counters = (job.attempt, job.failures, job.losses)
        origin = None if job.repeat_of is None else self.jobs.index(job.repeat_of)
        kept = (job.payload, job.priority, job.result_pruned, job.progress)
        return job.state, origin, counters, flags, kept, job.reason, job.worker, job.error, history


@given(steps=st.lists(STEPS, min_size=5, max_size=40))
# no shrinking: it would take longer than a test may
@settings(max_examples=60, deadline=None, derandomize=True, phases=[Phase.generate])
def test_memory_tells_what_sqlite_tells(
    steps: list[Step], sqlite_template: SqliteTemplate, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder: Path = tmp_path_factory.mktemp("twins")
    with sqlite_template.copy(folder) as url:
        database = Database(url)
        twins = (Player(MemoryStage()), Player(SqlStage.on(database, folder)))
        try:
            for name, given_ in steps:
                if name == "enqueue":
                    given_ = tuple(new_job(**{"owner": ORDER, **one}) for one in given_[0])
                assert len({repr(twin.play(name, given_)) for twin in twins}) == 1, (name, given_)
                memory, sqlite = (twin.account() for twin in twins)
                assert memory == sqlite, (name, given_)
        finally:
            database.dispose()
