"""What `@task` makes, and the jobs that every spelling of an enqueue builds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

import outsourced
from outsourced.backend import current
from outsourced.errors import ConfigurationError, NotRegistered, PayloadError
from outsourced.records import NewJob, Owner
from outsourced.tasks import Task
from tests.unit.memory import Producer


@pytest.fixture
def add() -> Task[..., int]:
    @outsourced.task(name="add")
    def add(x: int, y: int) -> int:
        """Adds."""
        return x + y

    return add


def only(producer: Producer) -> NewJob:
    ((job,),) = producer.calls
    return job


def call_of(job: NewJob) -> Any:
    return orjson.loads(job.payload)


def test_task_looks_like_its_function_and_runs_inline(add: Task[..., int]) -> None:
    assert add(1, 2) == 3
    assert (add.__name__, add.__doc__) == ("add", "Adds.")


def test_bound_task_gets_itself_and_is_called_directly() -> None:
    @outsourced.task(bind=True)
    def look(self: Task[..., Any], x: int) -> tuple[Any, ...]:
        return self, self.request.called_directly, self.request.args, self.request.id, x

    assert look(5) == (look, True, (5,), None, 5)


def test_request_outside_a_call_is_blank(add: Task[..., int]) -> None:
    assert add.request.called_directly
    assert add.request.retries == 0


def test_task_refuses_an_unknown_option_by_name() -> None:
    with pytest.raises(TypeError, match=r"'max_retry'.*max_retries"):
        outsourced.task(max_retry=3)  # type: ignore[call-overload]


@pytest.mark.parametrize("function", ["name", 5, type("Thing", (), {})()])
def test_task_refuses_what_is_no_function(function: Any) -> None:
    with pytest.raises(TypeError, match="made of a function"):
        outsourced.task(function)


def test_task_refuses_a_coroutine_function() -> None:
    async def fetch() -> None: ...

    with pytest.raises(TypeError, match=r"asyncio\.run"):
        outsourced.task(fetch)


def test_delay_enqueues_one_job_and_names_it(producer: Producer, add: Task[..., int]) -> None:
    result = add.delay(1, y=2)
    job = only(producer)
    assert (job.id, job.task) == (result.job_id, "add")
    assert call_of(job) == {"args": [1], "kwargs": {"y": 2}}
    assert type(job.id) is UUID
    assert job.id.version == 7


def test_every_spelling_builds_the_same_job(producer: Producer, add: Task[..., int]) -> None:
    spellings: list[Callable[[], Any]] = [
        lambda: add.delay(1, y=2),
        lambda: add.apply_async((1,), {"y": 2}),
        lambda: outsourced.enqueue(add, 1, kwargs={"y": 2}),
        lambda: outsourced.enqueue("add", 1, kwargs={"y": 2}),
        lambda: outsourced.outsource("add", 1, kwargs={"y": 2}),
        lambda: outsourced.enqueue_many([(add, (1,), {"kwargs": {"y": 2}})]),
        lambda: outsourced.enqueue_many([("add", (1,), {"kwargs": {"y": 2}})]),
        lambda: outsourced.send_task("add", [1], {"y": 2}),
        lambda: outsourced.remote("add").delay(1, y=2),
    ]
    for spelling in spellings:
        spelling()
    jobs = [job for (job,) in producer.calls]
    assert len(jobs) == len(spellings)
    assert len({job.id for job in jobs}) == len(spellings)
    assert len({(job.task, job.payload, job.queue, job.max_retries) for job in jobs}) == 1


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1,), {}), ((1, 2, 3), {}), ((1, 2), {"z": 3})])
def test_apply_async_refuses_arguments_the_function_does_not_take(
    producer: Producer, add: Task[..., int], args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    with pytest.raises(TypeError, match=r"^add\(\): "):
        add.apply_async(args, kwargs)
    assert producer.calls == []


def test_apply_async_refuses_text_for_arguments(producer: Producer, add: Task[..., int]) -> None:
    with pytest.raises(TypeError, match="list or tuple"):
        add.apply_async("12")


def test_bound_tasks_arguments_are_checked_without_self(producer: Producer) -> None:
    @outsourced.task(bind=True, name="bound")
    def bound(self: Task[..., Any], x: int) -> None: ...

    bound.delay(1)
    with pytest.raises(TypeError, match="too many"):
        bound.apply_async((1, 2))


def test_task_options_hold_and_call_options_win(producer: Producer) -> None:
    @outsourced.task(name="opt", queue="slow", priority=7, max_retries=9, max_losses=1)
    def opt() -> None: ...

    opt.delay()
    opt.apply_async(queue="fast", priority=-1, max_retries=None, max_losses=0)
    opt.apply_async(queue=None, priority=None)
    taken = [(job.queue, job.priority, job.max_retries, job.max_losses) for (job,) in producer.calls]
    assert taken == [("slow", 7, 9, 1), ("fast", -1, None, 0), ("slow", 7, 9, 1)]
    assert (opt.queue, opt.max_retries, opt.default_retry_delay) == ("slow", 9, 180)


def test_a_task_not_acknowledged_late_survives_no_loss(producer: Producer) -> None:
    @outsourced.task(name="early", acks_late=False)
    def early() -> None: ...

    early.delay()
    assert only(producer).max_losses == 0


def test_apply_async_takes_moments_and_durations(producer: Producer, add: Task[..., int]) -> None:
    noon = datetime(2030, 1, 1, 12)  # noqa: DTZ001 - a naive one is what is tested
    add.apply_async((1, 2), countdown=1.5, expires=60)
    add.apply_async((1, 2), countdown=timedelta(minutes=1), expires=timedelta(hours=1))
    add.apply_async((1, 2), eta=noon, expires=noon.replace(tzinfo=timezone(timedelta(hours=1))))
    add.apply_async((1, 2), countdown=0)
    taken = [(job.runs_at, job.runs_in, job.expires_at, job.expires_in) for (job,) in producer.calls]
    assert taken == [
        (None, timedelta(seconds=1.5), None, timedelta(seconds=60)),
        (None, timedelta(minutes=1), None, timedelta(hours=1)),
        (datetime(2030, 1, 1, 12, tzinfo=UTC), None, datetime(2030, 1, 1, 11, tzinfo=UTC), None),
        (None, None, None, None),
    ]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"countdown": 1, "eta": datetime(2030, 1, 1, tzinfo=UTC)}, ValueError, "countdown= and eta="),
        ({"countdown": "soon"}, TypeError, "countdown"),
        ({"countdown": float("nan")}, ValueError, "countdown"),
        ({"expires": 1e300}, ValueError, "expires"),
        ({"eta": 5}, TypeError, "eta"),
        ({"priority": 2**20}, ValueError, "priority"),
        ({"priority": "high"}, TypeError, "priority"),
        ({"queue": ""}, PayloadError, "queue"),
        ({"queue": b"q"}, TypeError, "queue"),
        ({"unique_key": "x" * 256}, PayloadError, "unique_key"),
        ({"unique_key": "a\x00"}, PayloadError, "unique_key"),
        ({"max_retries": -1}, ValueError, "max_retries"),
        ({"max_retries": True}, TypeError, "max_retries"),
        ({"task_id": ""}, PayloadError, "task_id"),
        ({"x": 1}, TypeError, r"'x' is no option.*kwargs=\{'x'"),
    ],
)
def test_enqueue_refuses_wrong_options_by_name(
    producer: Producer, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        outsourced.enqueue("any.task", **options)
    assert producer.calls == []


def test_a_task_id_that_is_a_uuid_is_the_jobs_id(producer: Producer, add: Task[..., int]) -> None:
    given = uuid4()
    assert add.apply_async((1, 2), task_id=str(given)).job_id == given
    assert only(producer).id == given


def test_any_other_task_id_becomes_the_same_uuid_always(producer: Producer, add: Task[..., int]) -> None:
    result = add.apply_async((1, 2), task_id="import-42")
    assert result.id == str(result) == "import-42"
    assert only(producer).id == outsourced.AsyncResult("import-42").job_id
    assert result == outsourced.AsyncResult("import-42")
    # written down: a change would lose the jobs of those who upgrade
    assert result.job_id == UUID("f436a7c0-71b6-509f-9248-18f324204eda")


def test_enqueue_takes_owner_attachment_and_key(producer: Producer, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("a,b")
    outsourced.enqueue("load", owner=("User", 5), attachment=path, unique_key="k")
    job = only(producer)
    assert (job.owner, job.unique_key) == (Owner(type="User", id="5"), "k")
    assert job.attachment is not None
    assert (job.attachment.filename, job.attachment.content_type) == ("in.csv", "text/csv")


def test_enqueue_refuses_a_missing_attachment_at_the_call(producer: Producer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        outsourced.enqueue("load", attachment=tmp_path / "nothing")
    assert producer.calls == []


def test_enqueue_refuses_a_plain_function(producer: Producer) -> None:
    with pytest.raises(TypeError, match=r"@outsourced\.task"):
        outsourced.enqueue(len, [])  # type: ignore[arg-type]


def test_enqueue_checks_a_known_names_arguments(producer: Producer, add: Task[..., int]) -> None:
    with pytest.raises(TypeError, match="missing"):
        outsourced.enqueue("add", 1)


def test_enqueue_many_is_one_call_in_order(producer: Producer, add: Task[..., int]) -> None:
    results = outsourced.enqueue_many([(add, (1, 2)), ("elsewhere",), ("elsewhere", [3], {"task_id": "t"})])
    (jobs,) = producer.calls
    assert [job.id for job in jobs] == [result.job_id for result in results]
    assert results[2].id == "t"


def test_enqueue_many_enqueues_nothing_if_one_is_wrong(producer: Producer, add: Task[..., int]) -> None:
    with pytest.raises(PayloadError) as refused:
        outsourced.enqueue_many([(add, (1, 2)), (add, (1, object()))])
    assert refused.value.__notes__ == ["in entry 1 of enqueue_many; nothing was enqueued"]
    assert producer.calls == []


def test_enqueue_many_of_nothing_asks_nobody(producer: Producer) -> None:
    assert outsourced.enqueue_many([]) == []
    assert producer.calls == []


def test_remote_holds_its_options_and_cannot_be_called(producer: Producer) -> None:
    render = outsourced.remote("gpu.render", queue="gpu")
    render.delay(1, size=2)
    assert (only(producer).task, only(producer).queue) == ("gpu.render", "gpu")
    with pytest.raises(NotRegistered, match="delay"):
        render(1)


def test_retry_called_directly_raises_the_exception() -> None:
    @outsourced.task(bind=True)
    def fetch(self: Task[..., Any]) -> None:
        try:
            raise OSError("net down")
        except OSError as error:
            self.retry(exc=error)

    with pytest.raises(OSError, match="net down"):
        fetch()


def test_enqueue_without_a_backend_says_where_to_call_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outsourced.backend._providers", [])  # an app that another test has left
    with pytest.raises(ConfigurationError, match="register_blueprint"):
        outsourced.enqueue("any")
    with pytest.raises(ConfigurationError):
        current()
