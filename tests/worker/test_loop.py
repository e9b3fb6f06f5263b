"""The claim loop with each pool, against a server that behaves and misbehaves."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from outsourced.records import ExchangeReply, ExchangeRequest, OutcomeKind
from outsourced_worker.dialogue import BEGIN_REPORT
from outsourced_worker.holding import MAX_CLAIM
from tests.acceptance.waiting import wait_until
from tests.worker.conftest import Running, Start, make_worker
from tests.worker.fakeserver import FakeServer

POOLS = ("solo", "threads", "processes")


@pytest.mark.parametrize("pool", POOLS)
def test_burst_runs_every_job_once_and_ends(server: FakeServer, pool: str) -> None:
    server.enqueue("noop", 7, count=500)
    server.enqueue("fail")
    assert make_worker(server, pool, burst=True).work() == 0
    assert server.kinds() == ["completed"] * 500 + ["failed"]
    assert {job.deliveries for job in server.jobs.values()} == {1}
    assert {job.outcome.result for job in server.jobs.values() if job.outcome} == {"7", None}


def test_burst_claims_in_batches_once_run_times_are_known(server: FakeServer) -> None:
    server.enqueue("noop", 1, count=2000)
    make_worker(server, "solo", burst=True).work()
    assert len(server.requests) < 60


def test_plenty_keeps_two_exchanges_in_flight(server: FakeServer) -> None:
    both, met = threading.Barrier(2), threading.Event()
    whole = server.exchange

    def exchange(request: ExchangeRequest) -> ExchangeReply:
        if request.slots > MAX_CLAIM // 2 and not met.is_set():
            both.wait(timeout=10)  # nobody passes alone
            met.set()
        return whole(request)

    server.exchange = exchange  # type: ignore[method-assign]
    server.enqueue("noop", 1, count=2000)
    assert make_worker(server, "solo", burst=True).work() == 0
    assert server.kinds() == ["completed"] * 2000
    assert {job.deliveries for job in server.jobs.values()} == {1}
    assert met.is_set()


@pytest.mark.parametrize("pool", POOLS)
def test_park_picks_a_new_job_up_at_once(server: FakeServer, start: Start, pool: str) -> None:
    with start(pool):
        server.wait_for(lambda: any(request.wait for request in server.requests))
        for _ in range(5):
            server.wait_ended(*server.enqueue("noop", 1), timeout=1)
    assert server.kinds() == ["completed"] * 5


@pytest.mark.parametrize("pool", POOLS)
def test_lost_answers_lose_and_repeat_nothing(server: FakeServer, pool: str) -> None:
    server.lose_answers = 6
    server.enqueue("noop", 1, count=300)
    make_worker(server, pool, burst=True).work()
    assert server.kinds() == ["completed"] * 300
    assert {job.deliveries for job in server.jobs.values()} == {1}


def test_lost_answer_sends_the_same_request_again(server: FakeServer) -> None:
    server.lose_answers = 1
    server.enqueue("noop", 1)
    make_worker(server, "solo", burst=True).work()
    first, second, *_ = server.requests
    assert first is second


def test_outage_keeps_outcomes_until_they_are_delivered(
    server: FakeServer, start: Start, tmp_path: Path
) -> None:
    marker = tmp_path / "go"
    (job,) = server.enqueue("wait_for", str(marker))
    with start("threads"):
        server.wait_for(lambda: server.leased)
        server.change(down=True)
        marker.touch()
        time.sleep(0.3)
        server.change(down=False)
        server.wait_ended(job)
    assert server.kinds() == ["completed"]
    assert job.deliveries == 1


def test_nothing_is_claimed_before_what_outlived_its_leases_is_home(
    server: FakeServer, start: Start, tmp_path: Path
) -> None:
    server.change(ttl=0.9)
    marker = tmp_path / "go"
    (job,) = server.enqueue("wait_for", str(marker))
    with start("threads", slots=2):
        server.wait_for(lambda: job.begun and any(r.wait and r.slots for r in server.requests))
        server.change(down=True)
        lapsed = time.monotonic() + 2 * server.ttl
        wait_until(lambda: time.monotonic() > lapsed)
        earlier = len(server.missed)
        server.wait_for(lambda: len(server.missed) >= earlier + 4, timeout=60)
        said = server.missed[earlier:]
        server.change(down=False)
        marker.touch()
        server.wait_ended(job, timeout=60)
    assert any(request.held for request in said)
    assert not any(request.slots for request in said)
    assert (job.deliveries, server.kinds()) == (1, ["completed"])


@pytest.mark.parametrize("pool", POOLS)
def test_begin_is_reported_while_a_task_runs(
    server: FakeServer, start: Start, tmp_path: Path, pool: str
) -> None:
    marker = tmp_path / "go"
    (job,) = server.enqueue("wait_for", str(marker))
    with start(pool):
        server.wait_for(lambda: job.deliveries)
        server.wait_for(lambda: job.begun, timeout=1.2)
        marker.touch()
        server.wait_ended(job)
    assert job.begins == 1


def test_begin_is_not_reported_of_short_tasks(server: FakeServer) -> None:
    server.enqueue("noop", 1, count=200)
    make_worker(server, "threads", burst=True).work()
    assert not any(request.begun for request in server.requests)


@pytest.mark.parametrize("pool", POOLS)
def test_heartbeat_names_the_leases_of_running_tasks(start: Start, tmp_path: Path, pool: str) -> None:
    server = FakeServer(ttl=0.6)
    marker = tmp_path / "go"
    (job,) = server.enqueue("wait_for", str(marker))
    running = Running(make_worker(server, pool))
    server.wait_for(lambda: job.beats >= 3, timeout=5)
    marker.touch()
    server.wait_ended(job)
    running.stop()
    assert running.join() == 0


def test_jobs_behind_a_long_one_are_given_back(server: FakeServer, start: Start, tmp_path: Path) -> None:
    marker = tmp_path / "go"
    with start("solo"):
        server.wait_ended(*server.enqueue("noop", 1, count=100))
        (slow,) = server.enqueue("wait_for", str(marker))
        stranded = server.enqueue("noop", 2, count=20)
        server.wait_for(lambda: slow.begun)
        server.wait_for(lambda: not any(job.lease for job in stranded), timeout=4)
        assert slow.outcome is None
        marker.touch()
        server.wait_ended()
    assert set(server.kinds()) == {"completed"}


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_cancel_ends_unbegun_jobs_at_once(
    server: FakeServer, start: Start, tmp_path: Path, pool: str
) -> None:
    marker = tmp_path / "go"
    with start(pool, slots=1):
        server.wait_ended(*server.enqueue("noop", 1, count=50))
        slow, waiting = server.enqueue("wait_for", str(marker), count=2)
        server.wait_for(lambda: slow.begun)
        server.cancel(waiting)
        server.wait_for(lambda: waiting.outcome or not waiting.lease, timeout=4)
        server.cancel(slow)
        marker.touch()
        server.wait_ended(slow)
    assert slow.outcome
    assert slow.outcome.kind is OutcomeKind.COMPLETED


def test_cancel_kills_the_process_that_runs_the_task(
    server: FakeServer, start: Start, tmp_path: Path
) -> None:
    with start("processes"):
        (job,) = server.enqueue("wait_for", str(tmp_path / "never"))
        server.wait_for(lambda: job.begun)
        server.cancel(job)
        server.wait_ended(job, timeout=3)
        server.wait_ended(*server.enqueue("noop", 1, count=20))
    assert server.kinds() == ["cancelled"] + ["completed"] * 20


def test_lost_lease_stops_its_task(tmp_path: Path) -> None:
    server = FakeServer(ttl=0.6)
    (job,) = server.enqueue("wait_for", str(tmp_path / "never"))
    running = Running(make_worker(server, "processes", slots=1))
    server.wait_for(lambda: job.begun)
    server.take_lease(job)
    server.wait_ended(*server.enqueue("noop", 1), timeout=5)
    running.stop()
    assert running.join() == 0
    assert job.outcome is None


@pytest.mark.parametrize("pool", POOLS)
def test_expired_lease_is_not_begun(server: FakeServer, pool: str) -> None:
    server.enqueue("fail", expires_in=-1.0)
    make_worker(server, pool, burst=True).work()
    assert server.kinds() == ["expired"]


@pytest.mark.parametrize("pool", POOLS)
def test_confirm_reports_the_begin_before_running(server: FakeServer, tmp_path: Path, pool: str) -> None:
    marker = tmp_path / "ran"
    (job,) = server.enqueue("touch", str(marker), confirm=True)
    make_worker(server, pool, burst=True).work()
    assert job.begins == 1
    assert marker.exists()
    assert server.kinds() == ["completed"]


def test_begin_that_awaits_its_answer_is_named_by_one_request(server: FakeServer) -> None:
    dialogue = make_worker(server, "solo", burst=True).dialogue
    server.enqueue("noop", 1, confirm=True)
    claim = dialogue.next_request()
    assert claim is not None
    dialogue.take(claim, server.exchange(claim), asked_at=time.monotonic())

    asking = dialogue.next_request()
    assert asking is not None
    assert len(asking.begun) == 1
    time.sleep(BEGIN_REPORT)  # from now on it would be reported if it ran
    meanwhile = dialogue.next_request()
    assert meanwhile is None or not meanwhile.begun

    dialogue.take_back(asking)
    again = dialogue.next_request()
    assert again is not None
    assert [held.lease_id for held in again.begun] == [held.lease_id for held in asking.begun]


def test_unreadable_outcome_fails_its_job_alone(server: FakeServer) -> None:
    server.refuse_result = "13"
    for value in range(20):
        server.enqueue("noop", value)
    make_worker(server, "solo", burst=True).work()
    assert server.kinds().count("completed") == 19
    assert server.kinds()[13] == "failed"


def test_lock_stops_tasks_and_unlock_goes_on(server: FakeServer, start: Start, tmp_path: Path) -> None:
    marker = tmp_path / "go"
    (job,) = server.enqueue("wait_for", str(marker))
    with start("processes", slots=1) as running:
        server.wait_for(lambda: job.begun)
        (pid,) = running.worker.pool.pids  # type: ignore[attr-defined]
        server.change(locked=True)
        deadline = time.monotonic() + 5
        while pid in running.worker.pool.pids and time.monotonic() < deadline:  # type: ignore[attr-defined]
            time.sleep(0.02)
        assert pid not in running.worker.pool.pids  # type: ignore[attr-defined]
        marker.touch()
        server.change(locked=False)
        server.wait_ended(job)
    assert job.deliveries == 2


def test_revoked_worker_ends_with_the_error(server: FakeServer, start: Start) -> None:
    with start("threads") as running:
        server.wait_for(lambda: any(request.wait for request in server.requests))
        server.change(revoked=True)
        assert running.join(timeout=10) == 1
    assert "revoked" in str(running.worker.failure)


@pytest.mark.parametrize("pool", POOLS)
def test_stop_drains(server: FakeServer, start: Start, tmp_path: Path, pool: str) -> None:
    marker = tmp_path / "go"
    with start(pool, slots=1) as running:
        server.wait_ended(*server.enqueue("noop", 1, count=50))
        (slow,) = server.enqueue("wait_for", str(marker))
        others = server.enqueue("noop", 2, count=10)
        server.wait_for(lambda: slow.begun)
        running.stop()
        server.wait_for(lambda: not any(job.lease for job in others), timeout=1)
        assert running.code is None
        marker.touch()
        assert running.join() == 0
    assert slow.outcome
    assert slow.outcome.kind is OutcomeKind.COMPLETED
    assert server.leased == 0


def test_stop_of_an_idle_worker_is_quick_and_takes_no_job_along(server: FakeServer, start: Start) -> None:
    with start("threads") as running:
        server.wait_for(lambda: any(request.wait for request in server.requests))
        running.stop()
        assert running.join(timeout=2) == 0
    server.enqueue("noop", 1, count=3)
    assert server.leased == 0


def test_second_stop_kills_processes_and_gives_their_jobs_back(
    server: FakeServer, start: Start, tmp_path: Path
) -> None:
    jobs = server.enqueue("wait_for", str(tmp_path / "never"), count=2)
    with start("processes") as running:
        server.wait_for(lambda: all(job.begun for job in jobs))
        running.stop()
        running.stop()
        assert running.join(timeout=5) == 0
    assert [job.releases for job in jobs] == [1, 1]
    assert server.leased == 0


def test_stop_while_the_server_is_down_ends_an_idle_worker(server: FakeServer, start: Start) -> None:
    server.change(down=True)
    with start("solo") as running:
        running.stop()
        assert running.join(timeout=3) == 0
