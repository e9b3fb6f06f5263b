"""What a worker's log says of jobs: Celery's lines."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import outsourced
from outsourced import joblog
from outsourced.exceptions import Ignore, Reject, Retry
from outsourced.records import Outcome
from outsourced.tasks import Task

Said = Callable[..., list[str]]

ID = r"[0-9a-f]{8}-[0-9a-f-]{27}"


@pytest.fixture
def shown() -> Iterator[None]:
    """As with `-l info`."""
    joblog.set_routine(shown=True)
    yield
    joblog.set_routine(shown=False)


@pytest.fixture
def said(run: Callable[..., Outcome], caplog: pytest.LogCaptureFixture) -> Said:
    """Runs the function as a task named `proj.work`; gives what was logged, each id replaced by `ID`."""
    caplog.set_level(logging.INFO)

    def said(function: Callable[..., Any], **options: Any) -> list[str]:
        task: Task[..., Any] = outsourced.task(name="proj.work", **options)(function)
        run(task)
        return [re.sub(ID, "ID", message) for message in caplog.messages]

    return said


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.mark.usefixtures("shown")
def test_a_success_is_one_line_with_its_time_and_result(said: Said) -> None:
    (line,) = said(lambda: {"rows": 3})
    assert re.fullmatch(r"Task proj\.work\[ID\] succeeded in \d+\.\d+s: \{'rows': 3\}", line)


@pytest.mark.usefixtures("shown")
def test_an_ignored_one_is_said_to_be(said: Said) -> None:
    assert said(raising(Ignore())) == ["Task proj.work[ID] ignored"]


def test_nothing_is_said_of_what_goes_well_unless_it_is_asked_for(said: Said) -> None:
    assert said(lambda: 1) == []


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("value", ["x" * 10_000, [["y" * 200] * 50] * 50, [10**5000], "a\nb", Unspeakable()])
def test_a_result_is_shortened_to_a_part_of_one_line(value: Any) -> None:
    text = joblog.shown(value)
    assert 0 < len(text) <= joblog.MAX_SHOWN
    assert "\n" not in text


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        (Retry(exc=OSError("down"), when=3), "Retry in 3s: OSError('down')"),
        (Retry(when=3), "Retry in 3s"),
        (Retry("later", when=3), "later"),
        (Retry(when=datetime(2030, 1, 1, tzinfo=UTC)), "Retry at 2030-01-01 00:00:00+00:00"),
    ],
)
def test_a_retry_tells_when_and_why(said: Said, wish: Retry, line: str) -> None:
    assert said(raising(wish)) == [f"Task proj.work[ID] retry: {line}"]


RETRIED = ["Task proj.work[ID] retry: Retry in 7s: OSError('down')"]


def test_a_retry_asked_for_tells_the_error_being_handled(said: Said) -> None:
    def work(self: Task[..., Any]) -> None:
        try:
            raise OSError("down")
        except OSError:
            self.retry(countdown=7)

    assert said(work, bind=True) == RETRIED


def test_an_automatic_retry_tells_the_same(said: Said) -> None:
    options: dict[str, Any] = {"autoretry_for": (OSError,), "retry_kwargs": {"countdown": 7}}
    assert said(raising(OSError("down")), **options) == RETRIED


def test_a_failure_tells_whether_it_was_expected(said: Said) -> None:
    assert said(raising(ValueError("usual")), throws=ValueError) == [
        "Task proj.work[ID] raised expected: ValueError('usual')"
    ]
    unexpected = said(raising(ValueError("new")))[1].splitlines()
    assert unexpected[:2] == [
        "Task proj.work[ID] raised unexpected: ValueError('new')",
        "Traceback (most recent call last):",
    ]
    assert unexpected[-1] == "ValueError: new"


def test_the_last_try_is_a_failure_not_a_retry(said: Said) -> None:
    options: dict[str, Any] = {"autoretry_for": (OSError,), "max_retries": 0}
    (line,) = said(raising(OSError("down")), **options)
    assert line.startswith("Task proj.work[ID] raised unexpected: OSError('down')\n")


def test_a_rejection_is_one_line(said: Said) -> None:
    assert said(raising(Reject("not mine"))) == ["Task proj.work[ID] reject requeue=False: not mine"]


@pytest.mark.usefixtures("shown")
def test_a_line_names_task_and_id_for_logs_in_json(said: Said, caplog: pytest.LogCaptureFixture) -> None:
    said(lambda: 1)
    (record,) = caplog.records
    assert vars(record)["task_name"] == "proj.work"
    assert re.fullmatch(ID, vars(record)["task_id"])
