"""Tasks here and now: what `task_always_eager` changes, and time zones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import outsourced
from outsourced import task_settings
from outsourced.eager import EagerResult
from outsourced.errors import PayloadError
from outsourced.payload import decode_call
from outsourced.task_settings import TaskSettings
from outsourced.tasks import Task
from tests.unit.memory import Producer


@pytest.fixture
def echo() -> Task[..., Any]:
    @outsourced.task(name="echo")
    def echo(x: Any) -> Any:
        return x

    return echo


def test_always_eager_runs_the_task_and_enqueues_nothing(producer: Producer, echo: Task[..., Any]) -> None:
    with task_settings.use(TaskSettings(always_eager=True)):
        result = echo.delay(5)
    assert isinstance(result, EagerResult)
    assert (result.get(), result.state, producer.calls) == (5, "SUCCESS", [])


def test_always_eager_refuses_what_would_not_travel(echo: Task[..., Any]) -> None:
    with task_settings.use(TaskSettings(always_eager=True)), pytest.raises(PayloadError):
        echo.delay(object())


def test_always_eager_refuses_to_wait_inside_a_task(echo: Task[..., Any]) -> None:
    @outsourced.task(name="outer")
    def outer() -> None:
        echo.delay(1).get()

    with task_settings.use(TaskSettings(always_eager=True)):
        result = outer.delay()
    with pytest.raises(RuntimeError, match="inside a task"):
        result.get()


def test_eager_propagates_raises_at_the_call() -> None:
    @outsourced.task(name="fail")
    def fail() -> None:
        raise ValueError("no")

    with task_settings.use(TaskSettings(always_eager=True, eager_propagates=True)):
        with pytest.raises(ValueError, match="no"):
            fail.delay()
        assert isinstance(fail.apply(throw=False).result, ValueError)


def test_naive_eta_is_in_the_apps_time_zone(producer: Producer, echo: Task[..., Any]) -> None:
    with task_settings.use(TaskSettings(timezone=ZoneInfo("Asia/Tokyo"))):
        job = echo.new_job((1,), eta=datetime(2026, 7, 1, 9))  # noqa: DTZ001 - naive, as applications write it
    assert job.runs_at == datetime(2026, 7, 1, tzinfo=UTC)


def test_what_the_process_has_to_know_travels_with_the_arguments(echo: Task[..., Any]) -> None:
    job = echo.new_job((1,), time_limit=5, headers={"a": 1}, ignore_result=True, shadow="s")
    assert decode_call(job.payload).extras == {
        "time_limit": 5,
        "headers": {"a": 1},
        "ignore_result": True,
        "shadow": "s",
    }


def test_routing_without_a_queue_is_refused(echo: Task[..., Any]) -> None:
    with pytest.raises(ValueError, match="queue="):
        echo.apply_async((1,), routing_key="mail")
    assert echo.new_job((1,), routing_key="mail", queue="mail").queue == "mail"
