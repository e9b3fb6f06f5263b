"""From a lease to its outcome."""

from __future__ import annotations

import contextvars
import logging
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

import outsourced
from outsourced.errors import LeaseLost
from outsourced.exceptions import Ignore, MaxRetriesExceededError, Reject, Retry
from outsourced.execution import execute
from outsourced.payload import decode, decode_call, encode_call
from outsourced.records import JsonText, Lease, Outcome, OutcomeKind, Owner, StoredFile
from outsourced.registry import Registry, registry
from outsourced.tasks import Task
from tests.unit.memory import MemoryFiles

Run = Callable[..., Outcome]


def lease(task: str, payload: Any = None, **changes: Any) -> Lease:
    fields: dict[str, Any] = {"attempt": 1, "failures": 0, "max_retries": 3, "ttl": 60.0, "queue": "q"}
    payload = {"args": [], "kwargs": {}} if payload is None else payload
    return Lease(id=uuid4(), job_id=uuid4(), task=task, payload=payload, **fields | changes)


def raising(error: BaseException, **options: Any) -> Task[..., Any]:
    @outsourced.task(name="raising", **options)
    def raise_it() -> None:
        raise error

    made: Task[..., Any] = raise_it
    return made


def test_execute_gives_the_result_and_its_time(run: Run) -> None:
    @outsourced.task
    def shift(day: datetime, by: timedelta) -> datetime:
        return day + by

    outcome = run(shift, datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=1))
    assert outcome.kind is OutcomeKind.COMPLETED
    assert outcome.result is not None
    assert decode(outcome.result) == datetime(2026, 1, 2, tzinfo=UTC)
    assert outcome.ran_for is not None
    assert outcome.ran_for >= 0


def test_execute_reads_a_payload_that_is_still_text(files: MemoryFiles) -> None:
    @outsourced.task(name="echo")
    def echo(x: Any) -> Any:
        return x

    outcome = execute(lease("echo", JsonText(encode_call(((1, 2),), {}))), registry, files)
    assert outcome.result == '{"$tuple":[1,2]}'


def test_execute_stores_no_result_for_none_or_when_it_is_ignored(run: Run) -> None:
    @outsourced.task(ignore_result=True)
    def quiet() -> object:
        return object()

    @outsourced.task
    def nothing() -> None: ...

    assert (run(quiet).kind, run(quiet).result) == (OutcomeKind.COMPLETED, None)
    assert (run(nothing).kind, run(nothing).result) == (OutcomeKind.COMPLETED, None)


def test_execute_reports_a_failure_in_full(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    @outsourced.task
    def fail() -> None:
        try:
            raise KeyError("a")
        except KeyError as error:
            raise ValueError("no a") from error

    outcome = run(fail)
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("ValueError", "no a")
    assert outcome.error.causes == (("KeyError", "'a'"),)
    assert "outsourced/execution.py" not in outcome.error.traceback
    assert "in fail" in outcome.error.traceback
    assert "no a" in caplog.text


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), MemoryError(), GeneratorExit()])
def test_execute_makes_whatever_is_raised_the_jobs_failure(run: Run, error: BaseException) -> None:
    outcome = run(raising(error))
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert outcome.error.type == type(error).__name__


def test_execute_survives_endless_recursion(run: Run) -> None:
    @outsourced.task
    def again() -> None:
        again()

    outcome = run(again)
    assert outcome.error is not None
    assert outcome.error.type == "RecursionError"


def test_execute_fails_what_cannot_be_carried_by_its_path(run: Run) -> None:
    @outsourced.task(autoretry_for=(Exception,))
    def give() -> object:
        return {"rows": [1, object()]}

    outcome = run(give)
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert outcome.error.type == "outsourced.errors.PayloadError"
    assert "result['rows'][1]" in outcome.error.message


@pytest.mark.parametrize(
    "payload", [{"args": [{"$nope": 1}], "kwargs": {}}, [], JsonText("{"), {"args": [1, 2]}]
)
def test_execute_fails_a_broken_payload(files: MemoryFiles, payload: Any) -> None:
    @outsourced.task(name="echo")
    def echo(*args: Any) -> Any:
        return args

    assert execute(lease("echo", payload), registry, files).kind is OutcomeKind.FAILED


def test_execute_fails_arguments_that_do_not_fit(files: MemoryFiles) -> None:
    @outsourced.task(name="one")
    def one(x: int) -> int:
        return x

    outcome = execute(lease("one", {"args": [], "kwargs": {}}), registry, files)
    assert outcome.error is not None
    assert "missing 1 required" in outcome.error.message


def test_execute_gives_an_unknown_task_back(files: MemoryFiles, caplog: pytest.LogCaptureFixture) -> None:
    outcome = execute(lease("unheard.of"), Registry(), files)
    assert outcome.kind is OutcomeKind.RELEASED
    assert outcome.reason is not None
    assert "unheard.of" in outcome.reason
    assert outcome.ran_for is None
    assert caplog.records[0].levelname == "ERROR"


def test_execute_logs_expected_errors_quietly(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        outcome = run(raising(ValueError("usual"), throws=ValueError))
    assert outcome.kind is OutcomeKind.FAILED
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_retry_asks_for_another_try_with_the_error(run: Run) -> None:
    @outsourced.task(bind=True, default_retry_delay=30)
    def fetch(self: Task[..., Any]) -> None:
        try:
            raise OSError("net down")
        except OSError as error:
            self.retry(exc=error)

    outcome = run(fetch)
    assert (outcome.kind, outcome.delay, outcome.max_retries) == (OutcomeKind.RETRY, 30, None)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("OSError", "net down")


def test_retry_without_exc_tells_the_one_being_handled(run: Run) -> None:
    @outsourced.task(bind=True)
    def fetch(self: Task[..., Any]) -> None:
        try:
            raise OSError("net down")
        except OSError:
            self.retry(countdown=5, max_retries=9)

    outcome = run(fetch)
    assert (outcome.kind, outcome.delay, outcome.max_retries) == (OutcomeKind.RETRY, 5, 9)
    assert outcome.error is not None
    assert outcome.error.message == "net down"


def test_retry_with_a_fresh_exception_shows_where_it_was_asked_for(run: Run) -> None:
    @outsourced.task(bind=True)
    def fetch(self: Task[..., Any]) -> None:
        self.retry(exc=OSError("not yet"), eta=datetime(2020, 1, 1, tzinfo=UTC))

    outcome = run(fetch)
    assert outcome.delay == 0
    assert outcome.error is not None
    assert "in fetch" in outcome.error.traceback


def test_retry_without_a_try_left_raises_the_exception(run: Run) -> None:
    @outsourced.task(bind=True, autoretry_for=(OSError,))
    def fetch(self: Task[..., Any]) -> None:
        self.retry(exc=OSError("net down"))

    outcome = run(fetch, failures=3)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, "retries_exhausted")
    assert outcome.error is not None
    assert outcome.error.type == "OSError"


def test_retry_without_a_try_left_and_no_exception_says_so(run: Run) -> None:
    @outsourced.task(bind=True)
    def fetch(self: Task[..., Any]) -> None:
        self.retry(max_retries=0)

    outcome = run(fetch)
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert outcome.error.type == f"outsourced.errors.{MaxRetriesExceededError.__name__}"


def test_retry_obeys_the_budget_of_the_job_not_of_the_worker(run: Run) -> None:
    @outsourced.task(bind=True, max_retries=1)
    def fetch(self: Task[..., Any]) -> None:
        self.retry()

    assert run(fetch, failures=50, max_retries=None).kind is OutcomeKind.RETRY
    assert run(fetch, failures=1, max_retries=1).kind is OutcomeKind.FAILED


def retrying(**options: Any) -> Task[..., Any]:
    @outsourced.task(bind=True, name="retrying")
    def again(self: Task[..., Any], *args: Any, **kwargs: Any) -> None:
        self.retry(**options)

    made: Task[..., Any] = again
    return made


def test_retry_with_other_arguments_sends_the_whole_call(run: Run) -> None:
    outcome = run(retrying(args=(date(2026, 1, 1),), kwargs={"k": 2}), 1)
    assert (outcome.kind, outcome.changes.priority, outcome.changes.expires_in) == (
        OutcomeKind.RETRY,
        None,
        None,
    )
    args, kwargs, extras = decode_call(outcome.changes.payload)
    assert (args, kwargs, extras) == ([date(2026, 1, 1)], {"k": 2}, {})


@pytest.mark.parametrize("options", [{}, {"serializer": "json", "retry": True, "queue": "default"}])
def test_retry_with_the_same_arguments_sends_none(run: Run, options: dict[str, Any]) -> None:
    assert run(retrying(**options), 1).changes is None


def test_retry_with_other_options_keeps_arguments_and_other_extras(run: Run) -> None:
    call = encode_call((1, {"$x": 2}), {}, {"headers": {"h": 1}, "time_limit": 9})
    outcome = run(retrying(priority=4, expires=60, time_limit=8), payload=JsonText(call))
    changes = outcome.changes
    assert (changes.priority, changes.expires_in) == (4, 60.0)
    assert decode_call(changes.payload) == ([1, {"$x": 2}], {}, {"headers": {"h": 1}, "time_limit": 8})


@pytest.mark.parametrize("name", ["queue", "countdowns", "link", "task_id", "owner"])
def test_retry_with_an_option_it_cannot_change_names_it(run: Run, name: str) -> None:
    outcome = run(retrying(**{name: "x"}))
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error.message.startswith(f"retry() cannot change {name}: ")


@pytest.mark.parametrize(
    ("options", "trouble"),
    [
        ({"args": (object(),)}, "args[0]"),
        ({"args": ("x" * 300_000,)}, "262,144"),
        ({"priority": 1.5}, "priority"),
        ({"time_limit": 1, "soft_time_limit": 2}, "soft_time_limit"),
        ({"expires": "soon"}, "expires"),
    ],
)
def test_retry_with_what_cannot_be_fails_where_it_is_said(
    run: Run, options: dict[str, Any], trouble: str
) -> None:
    outcome = run(retrying(**options))
    assert outcome.kind is OutcomeKind.FAILED
    assert trouble in outcome.error.message


def test_retry_that_does_not_throw_lets_the_task_finish_first(run: Run) -> None:
    steps: list[str] = []

    @outsourced.task(bind=True)
    def fetch(self: Task[..., Any]) -> str:
        assert isinstance(self.retry(countdown=1, throw=False), Retry)
        steps.append("after")
        return "value"

    outcome = run(fetch)
    assert (outcome.kind, outcome.result, outcome.delay) == (OutcomeKind.RETRY, None, 1)
    assert steps == ["after"]


def test_autoretry_backs_off_and_spares_exceptions(run: Run) -> None:
    options: dict[str, Any] = {
        "autoretry_for": (OSError,),
        "dont_autoretry_for": [FileNotFoundError],
        "retry_backoff": 3,
        "retry_jitter": False,
    }
    outcome = run(raising(OSError("net down"), **options), failures=2)
    assert (outcome.kind, outcome.delay) == (OutcomeKind.RETRY, 12)
    assert run(raising(FileNotFoundError(), **options)).kind is OutcomeKind.FAILED
    assert run(raising(ValueError(), **options)).kind is OutcomeKind.FAILED


@pytest.mark.parametrize(
    ("wish", "kind"),
    [
        (Ignore(), OutcomeKind.IGNORED),
        (Reject("not mine"), OutcomeKind.REJECTED),
        (Reject("later", requeue=True), OutcomeKind.RELEASED),
    ],
)
def test_predicates_pass_through_autoretry(run: Run, wish: Exception, kind: OutcomeKind) -> None:
    assert run(raising(wish, autoretry_for=(Exception,))).kind is kind


def test_request_tells_of_the_lease(run: Run) -> None:
    @outsourced.task(bind=True)
    def look(self: Task[..., Any], x: int) -> dict[str, Any]:
        request = self.request
        assert request is self.request
        assert request.expires is not None
        assert request.hostname
        return {
            "id": request.id,
            "args": request.args,
            "retries": request.retries,
            "called_directly": request.called_directly,
            "routing_key": request.delivery_info["routing_key"],
        }

    job_id = UUID(int=7)
    outcome = run(look, 5, job_id=job_id, failures=2, queue="q", expires_in=9.0)
    assert outcome.result is not None
    assert decode(outcome.result) == {
        "id": str(job_id),
        "args": [5],
        "retries": 2,
        "called_directly": False,
        "routing_key": "q",
    }


def test_a_task_called_inline_has_its_own_request_and_the_same_job(run: Run) -> None:
    @outsourced.task(bind=True, name="inner")
    def inner(self: Task[..., Any]) -> list[Any]:
        return [self.request.called_directly, outer.request.called_directly, outsourced.current_task.name]

    @outsourced.task(bind=True, name="outer")
    def outer(self: Task[..., Any]) -> list[Any]:
        before = outsourced.current_job.id
        seen = inner()
        assert outsourced.current_job.id == before
        return [*seen, self.request.called_directly, outsourced.current_task.name]

    outcome = run(outer)
    assert outcome.result is not None
    assert decode(outcome.result) == [True, False, "inner", False, "outer"]


def test_current_job_tells_attempt_retries_and_owner(run: Run) -> None:
    @outsourced.task(name="look")
    def look() -> list[Any]:
        job = outsourced.current_job
        assert job
        assert job.owner is not None
        return [job.task, job.queue, job.attempt, job.retries, job.owner.id, job.has_attachment]

    outcome = run(look, attempt=4, failures=2, queue="q", owner=Owner(type="User", id="5"))
    assert outcome.result is not None
    assert decode(outcome.result) == ["look", "q", 4, 2, "5", False]


def test_current_job_outside_a_job_is_false_and_says_so() -> None:
    assert not outsourced.current_job
    assert not outsourced.current_task
    with pytest.raises(RuntimeError, match="no job runs here"):
        _ = outsourced.current_job.id
    with pytest.raises(RuntimeError, match="no task runs here"):
        _ = outsourced.current_task.name


def test_current_job_is_each_threads_own(files: MemoryFiles) -> None:
    barrier = threading.Barrier(2, timeout=10)

    @outsourced.task(name="look")
    def look() -> str:
        barrier.wait()
        return str(outsourced.current_job.id)

    leases = [lease("look"), lease("look")]
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=lambda leased=leased: outcomes.append(execute(leased, registry, files)))
        for leased in leases
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(outcome.job_id, outcome.result) for outcome in outcomes} == {
        (leased.job_id, f'"{leased.job_id}"') for leased in leases
    }


def test_current_job_follows_a_copied_context(run: Run) -> None:
    seen: list[Any] = []

    @outsourced.task(name="look")
    def look() -> None:
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: seen.append(context.run(lambda: outsourced.current_job.id)))
        thread.start()
        thread.join()

    assert seen == [run(look).job_id]


def test_workdir_is_made_on_first_use_and_always_removed(run: Run) -> None:
    folders: list[Path] = []

    @outsourced.task
    def litter() -> None:
        folder = outsourced.current_job.workdir
        assert folder == outsourced.current_job.workdir
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x")
        folders.append(folder)
        sys.exit("left in a hurry")

    assert run(litter).kind is OutcomeKind.FAILED
    assert not folders[0].exists()


def test_attachment_is_fetched_once_when_it_is_used(run: Run, files: MemoryFiles) -> None:
    files.attachment = b"a,b"
    paths: list[Path] = []

    @outsourced.task
    def read() -> list[Any]:
        attachment = outsourced.current_job.attachment
        told = [attachment.filename, attachment.content_type, attachment.size]
        assert files.fetches == 0
        with attachment.open() as stream:
            told.append(stream.read())
        paths.append(outsourced.current_job.attachment.path())
        assert list(outsourced.current_job.workdir.iterdir()) == []
        return told

    stored = StoredFile(name="in.csv", size=3, sha256="", content_type="text/csv")
    outcome = run(read, attachment=stored)
    assert outcome.result is not None
    assert decode(outcome.result) == ["in.csv", "text/csv", 3, b"a,b"]
    assert files.fetches == 1
    assert paths[0].suffix == ".csv"
    assert not paths[0].exists()


def test_attachment_of_a_job_without_one_fails_the_job(run: Run) -> None:
    @outsourced.task
    def read() -> None:
        outsourced.current_job.attachment.path()

    outcome = run(read)
    assert outcome.error is not None
    assert outcome.error.message == "this job has no attachment"


def test_save_file_names_the_file_and_guesses_its_type(run: Run, files: MemoryFiles) -> None:
    @outsourced.task
    def write() -> None:
        report = outsourced.current_job.workdir / "report.json"
        report.write_text("{}")
        outsourced.current_job.save_file(report)
        outsourced.current_job.save_file(str(report), "copy.bin", content_type="application/x-own")

    assert run(write).kind is OutcomeKind.COMPLETED
    assert files.saved == {
        "report.json": (b"{}", "application/json"),
        "copy.bin": (b"{}", "application/x-own"),
    }


def test_save_file_after_the_lease_was_lost_fails_the_attempt(
    run: Run, files: MemoryFiles, tmp_path: Path
) -> None:
    files.lost = True
    path = tmp_path / "out"
    path.touch()

    @outsourced.task
    def write() -> None:
        outsourced.current_job.save_file(path)

    outcome = run(write)
    assert outcome.error is not None
    assert outcome.error.type == f"outsourced.errors.{LeaseLost.__name__}"


class Room:
    """Surrounds calls, and remembers what it saw of them."""

    def __init__(self, *, door: str = "") -> None:
        self.seen: list[object] = []
        self._door = door

    def __enter__(self) -> None:
        if self._door == "shut":
            raise OSError("no way in")
        self.seen.append("entered")

    def __exit__(self, kind: object, error: object, frames: object) -> None:
        self.seen.append(error)
        if self._door == "jammed":
            raise OSError("no way out")


def test_what_surrounds_a_call_sees_how_it_ended(files: MemoryFiles) -> None:
    @outsourced.task(name="divide")
    def divide(x: int, y: int) -> float:
        return x / y

    room = Room()
    for args in ([1, 2], [1, 0]):
        execute(lease("divide", {"args": args, "kwargs": {}}), registry, files, around=lambda: room)
    began, ended, again, error = room.seen
    assert (began, ended, again) == ("entered", None, "entered")
    assert isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize(("door", "says"), [("shut", "no way in"), ("jammed", "no way out")])
def test_a_call_fails_by_what_surrounds_it(files: MemoryFiles, door: str, says: str) -> None:
    @outsourced.task(name="fine")
    def fine() -> None: ...

    leased = lease("fine", {"args": [], "kwargs": {}})
    outcome = execute(leased, registry, files, around=lambda: Room(door=door))
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("OSError", says)
