"""Progress on its way to the server: the last word of a moment, with each pool."""

from __future__ import annotations

from pathlib import Path

import pytest

from outsourced.payload import decode
from tests.worker.conftest import Start, make_worker
from tests.worker.fakeserver import FakeJob, FakeServer

POOLS = ("solo", "threads", "processes")
#: far more than may be sent
MANY = 20_000


def words(job: FakeJob) -> list[tuple[int, int]]:
    """What the server was told of the job."""
    metas = [decode(told.progress.meta) for told in job.told]
    return [(meta["current"], meta["total"]) for meta in metas]


@pytest.mark.parametrize("pool", POOLS)
def test_last_word_arrives_soon_in_few_requests(
    server: FakeServer, start: Start, tmp_path: Path, pool: str
) -> None:
    marker = tmp_path / "go"
    (job,) = server.enqueue("tell", MANY, str(marker))
    with start(pool):
        server.wait_for(lambda: job.deliveries)
        server.wait_for(lambda: (MANY, MANY) in words(job), timeout=4)
        assert len(job.told) <= 4
        before = len(job.told)
        marker.touch()
        server.wait_for(lambda: words(job)[-1] == (0, 0), timeout=4)
        (tmp_path / "go.end").touch()
        server.wait_ended(job)
    assert len(job.told) == before + 1
    assert [told.number for told in job.told] == list(range(1, len(job.told) + 1))
    assert {told.progress.state for told in job.told} == {"PROGRESS"}
    assert server.kinds() == ["completed"]


@pytest.mark.parametrize("pool", POOLS)
def test_short_tasks_that_tell_cost_no_request(server: FakeServer, pool: str) -> None:
    server.enqueue("tell", 1, count=200)
    make_worker(server, pool, burst=True).work()
    assert server.kinds() == ["completed"] * 200
    assert not any(request.progress for request in server.requests)


def test_word_of_an_outage_arrives_after_it(server: FakeServer, start: Start, tmp_path: Path) -> None:
    marker = tmp_path / "go"
    (job,) = server.enqueue("tell", 1, str(marker))
    with start("threads"):
        server.wait_for(lambda: words(job) == [(1, 1)])
        server.change(down=True)
        marker.touch()
        server.wait_for(lambda: any(request.progress for request in server.missed))
        server.change(down=False)
        server.wait_for(lambda: words(job)[-1] == (0, 0))
        (tmp_path / "go.end").touch()
        server.wait_ended(job)
    assert server.kinds() == ["completed"]


def test_word_whose_answer_is_lost_is_the_same_word_again(
    server: FakeServer, start: Start, tmp_path: Path
) -> None:
    marker = tmp_path / "go"
    (job,) = server.enqueue("tell", 1, str(marker))
    with start("threads"):
        server.wait_for(lambda: words(job) == [(1, 1)])
        server.change(lose_answers=1)
        marker.touch()
        server.wait_for(lambda: words(job)[1:] == [(0, 0), (0, 0)])
        (tmp_path / "go.end").touch()
        server.wait_ended(job)
    assert [told.number for told in job.told] == [1, 2, 2]


def test_soft_limit_amid_telling_tears_nothing(server: FakeServer, start: Start) -> None:
    with start("processes", slots=1):
        jobs = server.enqueue("tell_too_long", count=3)
        after = server.enqueue("noop", 7)
        server.wait_ended(*jobs, *after, timeout=30)
    assert [job.outcome.result for job in jobs if job.outcome] == ['"tidied"'] * 3
    assert {job.deliveries for job in jobs + after} == {1}
    assert {told.progress.state for job in jobs for told in job.told} <= {"FULL"}


def test_slot_process_goes_on_telling_in_its_next_job(
    server: FakeServer, start: Start, tmp_path: Path
) -> None:
    with start("processes", slots=1):
        for number in (1, 2):
            marker = tmp_path / f"go{number}"
            (job,) = server.enqueue("tell", number, str(marker))
            server.wait_for(lambda job=job, number=number: (number, number) in words(job))
            marker.touch()
            (tmp_path / f"go{number}.end").touch()
            server.wait_ended(job)
