"""Job classes in delayed_job's shape: named, tried again, and told what becomes of them."""

from __future__ import annotations

import types
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest

import outsourced
from outsourced import backend, jobclasses
from outsourced.errors import TaskAlreadyRegistered
from outsourced.execution import execute
from outsourced.jobclasses import JobClassTask, task_of
from outsourced.records import NewJob, Outcome, OutcomeKind
from outsourced.registry import Registry, registry
from outsourced.testing import MemoryBackend
from tests.unit.memory import MemoryFiles, Producer, lease_of


class SendInvoice:
    """Says on a class variable what was called."""

    max_attempts = 3
    queue_name = "mail"
    calls: ClassVar[list[str]] = []

    def perform(self, order: int, *, fail: bool = False) -> str:
        self.calls.append("perform")
        if fail:
            raise ValueError("no such order")
        return f"invoice {order}"

    def enqueue(self, job: NewJob) -> None:
        if job.priority > 100:
            raise PermissionError("too lazy")

    def before(self, job: Any) -> None:
        self.calls.append(f"before {job.attempt}")

    def after(self, job: Any) -> None:
        self.calls.append("after")

    def success(self, job: Any) -> None:
        self.calls.append("success")

    def error(self, job: Any, error: BaseException) -> None:
        self.calls.append(f"error {error}")

    def failure(self, job: Any, error: BaseException) -> None:
        self.calls.append(f"failure {error}")


class Patient:
    """Has its own idea of when to be tried again."""

    def perform(self) -> None:
        raise ValueError

    def reschedule_at(self, now: datetime, attempts: int) -> datetime:
        return now + timedelta(hours=attempts)


class Plain:
    def perform(self) -> None:
        raise ValueError


@pytest.fixture(autouse=True)
def fresh(forget_tasks: None) -> None:
    SendInvoice.calls.clear()


@pytest.fixture
def producer() -> Iterator[Producer]:
    producer = Producer()
    with backend.use(producer):
        yield producer


def run(job_class: type, *args: Any, failures: int = 0, **kwargs: Any) -> Outcome:
    job = task_of(job_class).new_job(args, kwargs)
    return execute(lease_of(job, failures=failures), registry, MemoryFiles())


def test_enqueue_takes_the_class_with_its_queue_and_attempts(producer: Producer) -> None:
    result = outsourced.enqueue(SendInvoice, 7)
    ((job,),) = producer.calls
    assert (job.id, job.task, job.queue, job.max_retries) == (result.job_id, "SendInvoice", "mail", 2)


def test_enqueue_takes_its_short_and_its_full_name(producer: Producer) -> None:
    task_of(SendInvoice)
    outsourced.enqueue("SendInvoice", 7)
    outsourced.enqueue(f"{__name__}.SendInvoice", 7)
    assert [job.task for (job,) in producer.calls] == ["SendInvoice", "SendInvoice"]
    assert [job.queue for (job,) in producer.calls] == ["mail", "mail"]


def test_enqueue_of_a_name_unknown_here_leaves_it_to_the_workers(producer: Producer) -> None:
    outsourced.enqueue("SendReminder", 7)
    assert producer.calls[0][0].task == "SendReminder"


def test_enqueue_hook_may_refuse(producer: Producer) -> None:
    with pytest.raises(PermissionError):
        outsourced.enqueue(SendInvoice, 7, priority=101)
    assert not producer.calls


def test_enqueue_checks_the_arguments_of_perform(producer: Producer) -> None:
    with pytest.raises(TypeError, match=r"SendInvoice\(\): missing a required argument: 'order'"):
        outsourced.enqueue(SendInvoice)


def test_a_class_without_perform_is_no_job(producer: Producer) -> None:
    with pytest.raises(TypeError, match="perform"):
        outsourced.enqueue(Registry, 7)


def test_success_is_told_around_perform() -> None:
    outcome = run(SendInvoice, 7)
    assert (outcome.kind, outcome.result) == (OutcomeKind.COMPLETED, '"invoice 7"')
    assert SendInvoice.calls == ["before 1", "perform", "success", "after"]


def test_error_is_tried_again_after_delayed_jobs_wait() -> None:
    outcome = run(SendInvoice, 7, fail=True)
    assert (outcome.kind, outcome.max_retries) == (OutcomeKind.RETRY, 2)
    assert outcome.delay == 1**4 + 5
    assert run(SendInvoice, 7, fail=True, failures=1).delay == 2**4 + 5
    assert SendInvoice.calls[:4] == ["before 1", "perform", "error no such order", "after"]


def test_last_error_is_the_failure() -> None:
    outcome = run(SendInvoice, 7, fail=True, failures=2)
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert outcome.error.type == "ValueError"
    assert SendInvoice.calls[-3:] == ["error no such order", "failure no such order", "after"]


def test_class_says_when_to_try_again() -> None:
    delay = run(Patient, failures=4).delay
    assert delay == pytest.approx(5 * 3600, abs=5)


def test_class_that_says_nothing_has_25_attempts() -> None:
    assert run(Plain, failures=23).kind is OutcomeKind.RETRY
    assert run(Plain, failures=24).kind is OutcomeKind.FAILED


def module_of(name: str, *classes: type) -> types.ModuleType:
    module = types.ModuleType(name)
    for one in classes:
        setattr(module, one.__name__, one)
    return module


def test_register_takes_what_the_module_itself_defines() -> None:
    found = Registry()
    imported = type("Imported", (), {"perform": lambda self: None, "__module__": "elsewhere"})
    mine = type("Mine", (), {"perform": lambda self: None, "__module__": "jobs"})
    jobclasses.register(module_of("jobs", imported, mine, int), into=found)
    assert list(found) == ["Mine", "jobs.Mine"]
    assert isinstance(found["Mine"], JobClassTask)


def test_register_refuses_two_classes_of_one_short_name() -> None:
    found = Registry()
    for module in ("jobs", "other_jobs"):
        one = type("Mine", (), {"perform": _perform(module), "__module__": module})
        if module == "jobs":
            jobclasses.register(module_of(module, one), into=found)
        else:
            with pytest.raises(TaskAlreadyRegistered, match="'Mine'"):
                jobclasses.register(module_of(module, one), into=found)


def _perform(module: str) -> Any:
    def perform(self: Any) -> None: ...

    perform.__module__ = module
    perform.__qualname__ = f"Mine.perform of {module}"
    return perform


class Replaced:
    """Has another task take its place: no error, and nothing to be tried again."""

    told: ClassVar[list[str]] = []

    def perform(self) -> Any:
        return outsourced.current_task.replace(outsourced.signature("other"))

    def error(self, job: Any, error: BaseException) -> None:
        self.told.append(f"error {error}")

    def after(self, job: Any) -> None:
        self.told.append("after")


def test_job_class_may_be_replaced() -> None:
    @outsourced.task(name="other")
    def other() -> str:
        return "other's"

    with MemoryBackend() as store:
        result = task_of(Replaced).delay()
        store.drain()
        assert result.get() == "other's"
    assert Replaced.told == ["after"]
