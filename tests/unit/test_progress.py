"""What a task may say of itself, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

import outsourced
from outsourced.errors import PayloadError
from outsourced.payload import MAX_META, decode
from outsourced.progress import progress_of
from outsourced.records import ExchangeRequest, Instance, OutcomeKind, Progress
from outsourced.tasks import Task
from outsourced.testing import MemoryBackend
from tests.unit.memory import Producer

Run = Callable[..., Any]


def test_progress_carries_what_arguments_may_be() -> None:
    made = progress_of("X", {"half": (1, 2)})
    assert (made.state, decode(made.meta)) == ("X", {"half": (1, 2)})


def test_progress_without_a_state_is_that_of_a_started_task() -> None:
    assert progress_of(None, None) == Progress(state="STARTED", meta="null")


def test_progress_of_an_exception_is_as_celery_keeps_it() -> None:
    meta = decode(progress_of("X", KeyError("k")).meta)
    assert meta == {"exc_type": "KeyError", "exc_message": ["k"], "exc_module": "builtins"}


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "REVOKED"])
def test_progress_is_no_end(state: str) -> None:
    with pytest.raises(ValueError, match="return, or raise"):
        progress_of(state, None)


@pytest.mark.parametrize("state", ["", "x" * 256, "a\0"])
def test_progress_has_a_name_that_can_be_kept(state: str) -> None:
    with pytest.raises(ValueError, match="1 to 255 characters"):
        progress_of(state, None)


def test_progress_in_a_state_that_is_no_text_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="state is text"):
        progress_of(3, None)  # type: ignore[arg-type]


def test_progress_that_is_too_large_names_the_limit() -> None:
    assert progress_of("X", "x" * (MAX_META - 2))
    with pytest.raises(PayloadError, match="65,536"):
        progress_of("X", "x" * (MAX_META - 1))


def test_progress_that_cannot_be_carried_names_the_place() -> None:
    with pytest.raises(PayloadError, match="meta"):
        progress_of("X", {"a": object()})


def test_info_is_a_dict_with_the_worker_until_the_task_tells(forget_tasks: None) -> None:
    seen: list[Any] = []

    @outsourced.task(name="advance")
    def advance() -> None:
        result = outsourced.AsyncResult[Any](outsourced.current_job.id)
        seen.append((result.state, result.info))

    with MemoryBackend() as backend:
        backend.workers.create("near")
        backend.workers.hire("near", "default")
        result = advance.delay()
        assert (result.state, result.info) == ("PENDING", None)
        advance.delay()
        here = Instance(id=uuid4(), host="here", pid=1, version="0")
        claim = ExchangeRequest(instance=here, claim_id=uuid4(), slots=1, tasks=("advance",))
        backend.consumer("near").exchange(claim)
        assert (result.state, result.info) == ("RECEIVED", {"hostname": "near"})
        backend.drain()
    assert seen == [("STARTED", {"hostname": "drain"})]


def test_current_job_tells_how_far_it_is(forget_tasks: None) -> None:
    seen: list[Any] = []

    @outsourced.task(name="advance")
    def advance() -> None:
        for current in range(3):
            outsourced.current_job.progress(current, 3)
            result = outsourced.AsyncResult[Any](outsourced.current_job.id)
            seen.append((result.state, result.info))
        outsourced.current_job.progress(3)
        seen.append(result.info)

    with MemoryBackend() as backend:
        result = advance.delay()
        backend.drain()
        assert (result.state, result.info) == ("SUCCESS", None)
    assert seen == [
        ("PROGRESS", {"current": 0, "total": 3}),
        ("PROGRESS", {"current": 1, "total": 3}),
        ("PROGRESS", {"current": 2, "total": 3}),
        {"current": 3, "total": None},
    ]


def test_current_job_outside_a_job_has_no_progress() -> None:
    with pytest.raises(RuntimeError, match="no job runs here"):
        outsourced.current_job.progress(1, 2)


def test_update_state_of_another_job_is_refused(run: Run) -> None:
    @outsourced.task(bind=True, name="meddle")
    def meddle(self: Task[..., Any]) -> None:
        self.update_state(task_id="another", state="X")

    outcome = run(meddle)
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error.message == "a task can tell of its own job only, not of another"
    with pytest.raises(ValueError, match="its own job only"):
        meddle.update_state(task_id="another", state="X")


def test_update_state_where_there_is_no_job_does_nothing(producer: Producer) -> None:
    @outsourced.task(bind=True, name="tell")
    def tell(self: Task[..., Any]) -> str | None:
        self.update_state(state="X", meta={"a": 1})
        return self.request.id

    assert tell() is None
    result = tell.apply()
    assert (result.state, result.get()) == ("SUCCESS", result.id)
    tell.update_state(state="X")


def test_update_state_in_a_task_called_inline_is_not_of_the_job_around_it(forget_tasks: None) -> None:
    seen: list[Any] = []

    @outsourced.task(bind=True, name="inner")
    def inner(self: Task[..., Any]) -> None:
        self.update_state(state="X")

    @outsourced.task(name="outer")
    def outer() -> None:
        inner()
        seen.append(outsourced.AsyncResult[Any](outsourced.current_job.id).state)

    with MemoryBackend() as backend:
        outer.delay()
        backend.drain()
    assert seen == ["STARTED"]
