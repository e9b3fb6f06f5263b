"""`MemoryBackend` as tests of an app use it; what it shares with the other backends is in tests/backends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import pytest

import outsourced
from outsourced import callbacks
from outsourced.backend import current
from outsourced.errors import AlreadyExists, ConfigurationError, NotFound, QueueFull, UnknownQueue
from outsourced.records import ExchangeReply, ExchangeRequest, Instance
from outsourced.registry import Registry
from outsourced.states import State
from outsourced.tasks import Task
from outsourced.testing import MemoryBackend
from outsourced.testing import backend as module
from outsourced_worker.pools.base import Bench
from outsourced_worker.pools.threads import ThreadPool
from outsourced_worker.worker import Worker


@pytest.fixture
def memory() -> Iterator[MemoryBackend]:
    with MemoryBackend() as memory:
        yield memory


@pytest.fixture
def add() -> Task[..., int]:
    @outsourced.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    return add


def test_backend_is_in_force_inside_its_block_only() -> None:
    with MemoryBackend() as memory:
        assert current() is memory
    with pytest.raises(ConfigurationError):
        current()


def test_drain_runs_what_is_ready(memory: MemoryBackend, add: Task[..., int]) -> None:
    result = add.delay(1, 2)
    assert [job.id for job in memory.drain()] == [result.job_id]
    assert result.get() == 3
    assert [row.event for row in result.history] == ["enqueue", "claim", "begin", "complete"]
    assert memory.drain() == []


def test_drain_runs_children_and_small_priorities_first(memory: MemoryBackend) -> None:
    ran: list[str] = []

    @outsourced.task(name="note")
    def note(name: str) -> None:
        ran.append(name)
        if name == "parent":
            note.delay("child")

    note.apply_async(("late",), priority=1)
    parent = note.apply_async(("parent",), owner=("Order", 7))
    note.delay("other")
    memory.drain()
    assert ran == ["parent", "other", "child", "late"]
    assert outsourced.jobs_of(("Order", 7)).count() == 2
    child = memory.jobs(task="note")[-1]
    assert memory.history(child.id)[0].actor == f"task:{parent.id}"


def test_drain_fails_what_raises_and_get_raises_it(memory: MemoryBackend) -> None:
    @outsourced.task(name="divide")
    def divide(x: int) -> float:
        return 1 / x

    result = divide.delay(0)
    (job,) = memory.drain()
    assert job.state is State.FAILED
    with pytest.raises(ZeroDivisionError):
        result.get()


def test_drain_tries_again_when_the_time_has_come(memory: MemoryBackend) -> None:
    @outsourced.task(name="stumble", bind=True, max_retries=1)
    def stumble(self: Task[..., int]) -> int:
        if self.request.retries == 0:
            self.retry(countdown=60)
        return self.request.retries

    result = stumble.delay()
    assert [job.state for job in memory.drain()] == [State.RETRYING]
    assert memory.drain() == []
    memory.pass_time(timedelta(minutes=1))
    assert [job.state for job in memory.drain()] == [State.COMPLETED]
    assert result.get() == 1


def test_drain_leaves_what_is_paused_unknown_or_for_later(memory: MemoryBackend, add: Task[..., int]) -> None:
    memory.queues.create("paused")
    memory.queues.pause("paused")
    left = [
        add.apply_async((1, 2), queue="paused"),
        add.apply_async((1, 2), countdown=60),
        outsourced.remote("gpu.render").delay(),
    ]
    assert memory.drain() == []
    memory.queues.resume("paused")
    memory.pass_time(60)
    assert {job.id for job in memory.drain()} == {one.job_id for one in left[:2]}


def test_drain_surrounds_each_call(memory: MemoryBackend, add: Task[..., int]) -> None:
    seen: list[str] = []

    @contextmanager
    def around() -> Iterator[None]:
        seen.append("in")
        yield
        seen.append("out")

    outsourced.enqueue_many([(add, (1, 2)), (add, (3, 4))])
    memory.drain(around=around)
    assert seen == ["in", "out"] * 2


def test_drain_calls_what_waits_for_the_end_of_an_owner_s_jobs(
    memory: MemoryBackend, add: Task[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "_callbacks", {})
    ended = []
    outsourced.on_job_end("Order")(ended.append)
    result = add.apply_async((1, 2), owner=("Order", 7))
    add.delay(3, 4)
    memory.drain()
    assert [(job.id, job.result) for job in ended] == [(result.job_id, "3")]


def test_drain_tells_of_a_task_that_enqueues_itself_for_ever(
    memory: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    @outsourced.task(name="again")
    def again() -> None:
        again.delay()

    monkeypatch.setattr(module, "MOST_DRAINED", 20)
    again.delay()
    with pytest.raises(RuntimeError, match="20 jobs have run"):
        memory.drain()


def test_drain_carries_files(memory: MemoryBackend) -> None:
    @outsourced.task(name="copy")
    def copy() -> None:
        outsourced.current_job.save_file(outsourced.current_job.attachment.path(), "copy.txt")

    result = copy.apply_async(attachment=("in.txt", b"content"))
    memory.drain()
    with result.files["copy.txt"].open() as stream:
        assert stream.read() == b"content"


def test_jobs_of_a_transaction_are_there_at_once(memory: MemoryBackend, add: Task[..., int]) -> None:
    add.delay_on_commit(1, 2)
    assert [job.task for job in memory.jobs()] == ["add"]


def test_jobs_are_found_by_task_queue_and_state(memory: MemoryBackend, add: Task[..., int]) -> None:
    memory.queues.create("mail")
    add.delay(1, 2)
    memory.drain()
    add.apply_async((3, 4), queue="mail")
    assert [job.queue for job in memory.jobs()] == ["default", "mail"]
    assert [job.queue for job in memory.jobs(state="completed")] == ["default"]
    assert [job.queue for job in memory.jobs(queue="mail", state=State.UNASSIGNED)] == ["mail"]
    assert memory.jobs(task="other") == []


def test_full_queue_refuses_as_it_will_in_production(memory: MemoryBackend, add: Task[..., int]) -> None:
    memory.queues.create("small", capacity=1)
    add.apply_async((1, 2), queue="small")
    with pytest.raises(QueueFull):
        add.apply_async((1, 2), queue="small")


def test_a_chain_may_be_longer_than_python_s_stack(memory: MemoryBackend) -> None:
    @outsourced.task(name="next", max_retries=0)
    def fail(_: object = None) -> None:
        raise ValueError("the first one fails")

    heard = outsourced.task(name="heard")(lambda job_id: job_id)
    made = outsourced.chain([fail.s() for _ in range(1_000)])
    result = outsourced.chord([made], fail.s().on_error(heard.s())).delay()
    memory.drain()
    assert result.state == "FAILURE"
    assert len(memory.jobs(state=State.FAILED)) == 1_001
    assert len(memory.jobs(state=State.COMPLETED)) == 1


def test_misspelt_names_say_what_to_write(memory: MemoryBackend, add: Task[..., int]) -> None:
    with pytest.raises(UnknownQueue, match=r"backend\.queues\.create\('mial'\)"):
        add.apply_async((1, 2), queue="mial")
    with pytest.raises(NotFound, match=r"backend\.workers\.create\('near'\)"):
        memory.consumer("near")
    memory.workers.create("near")
    with pytest.raises(AlreadyExists):
        memory.workers.create("near")
    with pytest.raises(AlreadyExists):
        memory.queues.create("default")


HERE = Instance(id=uuid4(), host="here", pid=1, version="0")


def parked(memory: MemoryBackend) -> tuple[threading.Thread, list[ExchangeReply]]:
    """A poll of the worker `near`, in a thread, and where its answer will be."""
    replies: list[ExchangeReply] = []
    poll = ExchangeRequest(instance=HERE, claim_id=uuid4(), slots=1, tasks=("add",), wait=20)
    thread = threading.Thread(target=lambda: replies.append(memory.consumer("near").exchange(poll)))
    thread.start()
    return thread, replies


@pytest.fixture
def near(memory: MemoryBackend) -> None:
    memory.workers.create("near")
    memory.workers.hire("near", "default")


@pytest.mark.usefixtures("near")
def test_parked_poll_gets_the_job_that_comes(memory: MemoryBackend, add: Task[..., int]) -> None:
    thread, replies = parked(memory)
    result = add.delay(1, 2)
    thread.join(10)
    assert [lease.job_id for lease in replies[0].leases] == [result.job_id]


@pytest.mark.usefixtures("near")
def test_time_left_of_a_job_that_a_parked_poll_gets_counts_from_its_sending(
    memory: MemoryBackend, add: Task[..., int]
) -> None:
    thread, replies = parked(memory)
    while not memory._store.workers["near"].polls:
        time.sleep(0.005)
    parked_by = time.monotonic()
    time.sleep(0.5)
    enqueued_at = time.monotonic()
    add.apply_async((1, 2), expires=10)
    thread.join(10)
    (lease,) = replies[0].leases
    assert lease.expires_in is not None
    assert parked_by + lease.expires_in > enqueued_at + 10 - 0.25


@pytest.mark.usefixtures("near")
def test_newer_poll_of_an_instance_ends_the_older(memory: MemoryBackend) -> None:
    thread, replies = parked(memory)
    memory.consumer("near").exchange(ExchangeRequest(instance=HERE, wait=0.001))
    while not replies:  # the older one may have come after, and is then the newer
        memory.consumer("near").exchange(ExchangeRequest(instance=HERE, wait=0.001))
    thread.join(10)
    assert replies == [ExchangeReply()]


@pytest.mark.usefixtures("near")
def test_real_worker_works_it(memory: MemoryBackend, add: Task[..., int]) -> None:
    results = [add.delay(number, 1) for number in range(50)]
    registry = Registry()
    registry.add(add)
    consumer = memory.consumer("near")
    worker = Worker(
        consumer,
        lambda ledger, bell: ThreadPool(
            2, Bench(registry, consumer), report=ledger.report, on_idle=bell.ring
        ),
        instance=HERE,
        tasks=("add",),
        burst=True,
    )
    assert worker.work() == 0
    assert [result.get() for result in results] == list(range(1, 51))
