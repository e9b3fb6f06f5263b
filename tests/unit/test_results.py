"""What AsyncResult tells, waits for and raises."""

from __future__ import annotations

import builtins
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import outsourced
from outsourced.errors import (
    JobFailed,
    JobRevoked,
    MaxRetriesExceeded,
    NotFound,
    PayloadError,
    ResultPruned,
    TimeoutError,
)
from outsourced.failures import RemoteFailure
from outsourced.payload import describe_failure, encode_result
from outsourced.records import Failure, Outcome, OutcomeKind
from outsourced.results import AsyncResult
from outsourced.resultsets import GroupResult
from tests.unit.memory import Producer


class Refused(Exception):
    """An application's own, at home in an imported module."""


class Coded(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(f"code {number:d}")


class Prefixed(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(f"prefix {text}")


class Exiting(SystemExit):
    """No Exception: must not end the process that asks for the result."""


def failed_with(producer: Producer, error: BaseException) -> AsyncResult[Any]:
    result = outsourced.enqueue("any")
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - any kind is tested
        producer.fail(result.job_id, describe_failure(caught))
    return result


def test_state_follows_the_job_in_celerys_words(producer: Producer) -> None:
    result = outsourced.enqueue("any")
    seen = [result.state]
    lease = producer.claim(result.job_id)
    seen.append(result.status)
    producer.begin(lease)
    seen.append(result.status)
    producer.end(lease, OutcomeKind.COMPLETED)
    seen.append(result.status)
    assert seen == ["PENDING", "RECEIVED", "STARTED", "SUCCESS"]
    assert result.ready()
    assert result.successful()
    assert not result.failed()


def test_an_unknown_id_is_pending_does_not_exist_and_cannot_be_waited_for(producer: Producer) -> None:
    result: AsyncResult[Any] = AsyncResult(uuid4())
    assert (result.state, result.result, result.traceback, result.exists()) == ("PENDING", None, None, False)
    assert (result.ready(), dict(result.files), list(result.history)) == (False, {}, [])
    with pytest.raises(NotFound, match=result.id):
        result.get()


def test_get_gives_the_result(producer: Producer) -> None:
    result = outsourced.enqueue("any")
    assert result.exists()
    producer.complete(result.job_id, encode_result((1, {2})))
    assert result.get() == result.result == result.info == (1, {2})
    assert result.date_done is not None


def test_get_of_a_task_that_returned_nothing_is_none(producer: Producer) -> None:
    result = outsourced.enqueue("any")
    producer.complete(result.job_id)
    assert result.get() is None


def test_get_wakes_when_the_job_ends(producer: Producer) -> None:
    result = outsourced.enqueue("any")
    thread = threading.Thread(target=lambda: producer.complete(result.job_id, "5"))
    thread.start()
    assert result.get(timeout=20) == 5
    thread.join()


def test_get_waits_in_slices_until_the_timeout(producer: Producer) -> None:
    result = outsourced.enqueue("any")
    with pytest.raises(TimeoutError, match=r"unassigned after 0\.05 s") as late:
        result.get(timeout=0.05, interval=0.01)
    assert isinstance(late.value, builtins.TimeoutError)


def test_get_inside_a_task_is_refused_unless_allowed(producer: Producer, run: Any) -> None:
    result = outsourced.enqueue("any")
    producer.complete(result.job_id, "5")

    @outsourced.task
    def wait(allowed: bool) -> Any:
        return result.get(disable_sync_subtasks=not allowed)

    outcome: Outcome = run(wait, False)
    assert outcome.error is not None
    assert outcome.error.type == "RuntimeError"
    assert run(wait, True).kind is OutcomeKind.COMPLETED


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad"),
        KeyError("a"),
        KeyError(5),
        ZeroDivisionError(),
        FileNotFoundError(2, "No such file", "x"),
        Refused("no"),
        PayloadError("args[0] is odd"),
        MaxRetriesExceeded("used up"),
    ],
)
def test_get_raises_the_failure_in_its_own_class(producer: Producer, error: Exception) -> None:
    result = failed_with(producer, error)
    with pytest.raises(type(error)) as raised:
        result.get()
    assert type(raised.value) is type(error)
    assert str(raised.value) == str(error)
    assert "raise error" in str(raised.value.__cause__)
    assert result.failed()


@pytest.mark.parametrize("error", [Coded(5), Exiting("bye"), UnicodeDecodeError("utf8", b"x", 0, 1, "odd")])
def test_get_raises_a_stand_in_where_the_class_cannot_say_the_same(
    producer: Producer, error: BaseException
) -> None:
    result = failed_with(producer, error)
    with pytest.raises(RemoteFailure) as raised:
        result.get()
    assert raised.value.type.endswith(type(error).__name__)
    assert str(raised.value).endswith(f": {error}")
    assert "raise error" in raised.value.traceback


def test_get_keeps_the_message_of_a_constructor_that_changes_it(producer: Producer) -> None:
    with pytest.raises(Prefixed, match=r"^prefix text$"):
        failed_with(producer, Prefixed("text")).get()


@pytest.mark.parametrize(
    "name",
    [
        "nowhere.Missing",
        "os.system",
        "os.path.join",
        "builtins.eval",
        "SystemExit",
        "int",
        "",
        ".",
        "a..b",
        "outsourced.bp",
        "outsourced.results.JobFailed",
        "encodings.undefined.Oops",
    ],
)
def test_get_never_builds_anything_but_an_imported_exception(producer: Producer, name: str) -> None:
    result = outsourced.enqueue("any")
    producer.fail(result.job_id, Failure(type=name, message="5"))
    with pytest.raises(RemoteFailure):
        result.get()


def test_get_without_propagation_gives_the_exception(producer: Producer) -> None:
    result = failed_with(producer, ValueError("bad"))
    error = result.get(propagate=False)
    assert isinstance(error, ValueError)
    assert isinstance(result.result, ValueError)
    assert result.traceback is not None
    assert "bad" in result.traceback


def test_get_of_a_failure_without_error_tells_the_reason(producer: Producer) -> None:
    result = outsourced.enqueue("any")
    producer.fail(result.job_id, None, reason="lost")
    with pytest.raises(JobFailed, match="lost"):
        result.get()


@pytest.mark.parametrize("end", ["cancel", "expire"])
def test_get_of_a_revoked_job_raises_job_revoked(producer: Producer, end: str) -> None:
    result = outsourced.enqueue("any", expires=60)
    if end == "cancel":
        producer.cancel(result.job_id)
    else:
        producer.pass_time(61)
        producer.tick()
    assert result.state == "REVOKED"
    with pytest.raises(JobRevoked):
        result.get()


def test_revoke_cancels(producer: Producer) -> None:
    result = outsourced.enqueue("any")
    result.revoke()
    assert [(row.from_state, row.to_state) for row in result.history] == [
        (None, "unassigned"),
        ("unassigned", "cancelled"),
    ]


def test_files_open_and_save(producer: Producer, tmp_path: Path) -> None:
    result = outsourced.enqueue("any")
    (tmp_path / "made").write_bytes(b"content")
    producer.near.save_file(producer.claim(result.job_id), "out.txt", tmp_path / "made", "text/plain")
    file = result.files["out.txt"]
    assert (file.name, file.size, file.content_type) == ("out.txt", 7, "text/plain")
    with file.open() as stream:
        assert stream.read() == b"content"
    assert file.save(tmp_path) == tmp_path / "out.txt"
    assert file.save(tmp_path / "other").read_bytes() == b"content"


def test_forget_lets_get_say_so(producer: Producer) -> None:
    bad, good = failed_with(producer, ValueError("no")), outsourced.enqueue("any")
    producer.complete(good.job_id, "1")
    for result in (good, bad):
        result.forget()
        with pytest.raises(ResultPruned, match="no longer kept"):
            result.get()
        assert isinstance(result.result, ResultPruned)
        assert result.traceback is None
        assert result.history
    assert (good.state, bad.state) == ("SUCCESS", "FAILURE")


def test_forget_goes_up(producer: Producer) -> None:
    first = outsourced.enqueue("any")
    producer.complete(first.job_id, "1")
    second: AsyncResult[Any] = AsyncResult(outsourced.enqueue("any").id, parent=first)
    producer.complete(second.job_id, "1")
    second.forget()
    with pytest.raises(ResultPruned):
        first.get()


def test_walk_goes_down_each_branch_once(producer: Producer) -> None:
    layers = 12
    with_two = outsourced.group(outsourced.signature("any", (n,)) for n in range(2))
    last = outsourced.chain(*[with_two | outsourced.signature("any") for _ in range(layers)]).delay()
    top = last
    while top.parent is not None:
        top = top.parent
    root = top[0]
    walk = list(root.iterdeps(intermediate=True))
    assert walk[0] == (None, root)
    assert len(walk) == 1
    producer.workers.hire("near", "default")
    while producer.jobs(state="unassigned"):
        producer.complete(producer.jobs(state="unassigned")[0].id, "1")
    # itself, the body of its chord, and to each further body two ways with two steps each
    assert len(list(root.iterdeps())) == 2 + 4 * (layers - 1)
    assert root.get_leaf() == 1


def test_save_of_a_group_that_is_too_large_says_so(producer: Producer) -> None:
    many: list[Any] = [AsyncResult(uuid4()) for _ in range(25_000)]
    with pytest.raises(PayloadError, match="too large to be saved"):
        GroupResult(uuid4(), many).save()


def test_restored_group_has_its_parents_and_its_groups(producer: Producer) -> None:
    above: AsyncResult[Any] = AsyncResult(uuid4())
    inner = GroupResult(uuid4(), [AsyncResult(uuid4())])
    made = GroupResult("a name of my own", [inner, AsyncResult(uuid4())], parent=above)
    made.save()
    restored = GroupResult.restore("a name of my own")
    assert restored is not None
    assert restored.as_tuple() == made.as_tuple()
    assert restored.as_list() == ["a name of my own", above.id]
