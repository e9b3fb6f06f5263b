"""Parked polls: none sleeps through its wake, none is woken for another's job."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
from sqlalchemy import event, insert, text

from outsourced.records import Changes
from outsourced.server import announcer
from outsourced.server.ending import is_ending
from outsourced.server.listener import Listener
from outsourced.server.wakeup import Waiter, Wakeup
from outsourced.sql.database import Database
from outsourced.sql.models import Job, RateLimit

#: seconds no test should ever come near
LONG = 20.0


@pytest.fixture
def wakeup() -> Wakeup:
    return Wakeup(Database("sqlite://"), max_waiters=100, listens=False)


def ready(queue: str = "q", task: str = "t", number: int = 1) -> Changes:
    return Changes(ready={(queue, task): number})


def woken(waiter: Waiter) -> bool:
    return waiter.wait(0)


def test_wait_returns_when_woken(wakeup: Wakeup) -> None:
    with wakeup.waiting("w", uuid4(), {"t"}, {"q"}) as waiter:
        threading.Timer(0.01, wakeup.notify, [ready()]).start()
        assert waiter.wait(LONG)


def test_wait_returns_false_when_nothing_comes(wakeup: Wakeup) -> None:
    with wakeup.waiting("w", uuid4(), {"t"}, {"q"}) as waiter:
        assert not waiter.wait(0.01)


def test_wake_between_registration_and_wait_is_kept(wakeup: Wakeup) -> None:
    with wakeup.waiting("w", uuid4(), {"t"}, {"q"}) as waiter:
        wakeup.notify(ready())
        assert waiter.wait(LONG)
        assert not woken(waiter)


def test_wake_is_only_for_those_who_can_claim_it(wakeup: Wakeup) -> None:
    with (
        wakeup.waiting("a", uuid4(), {"other"}, {"q"}) as unable,
        wakeup.waiting("b", uuid4(), {"t"}, {"other"}) as unhired,
        wakeup.waiting("c", uuid4(), {"t", "u"}, {"q", "p"}) as right,
    ):
        wakeup.notify(ready())
        assert [woken(waiter) for waiter in (unable, unhired, right)] == [False, False, True]


def test_wake_releases_as_many_as_there_are_jobs_first_come_first_woken(wakeup: Wakeup) -> None:
    with (
        wakeup.waiting("w", uuid4(), {"t"}, {"q"}) as first,
        wakeup.waiting("w", uuid4(), {"t"}, {"q"}) as second,
        wakeup.waiting("w", uuid4(), {"t"}, {"q"}) as third,
    ):
        wakeup.notify(ready(number=1))
        wakeup.notify(ready(number=1))
        assert [woken(waiter) for waiter in (first, second, third)] == [True, True, False]


def test_word_for_a_worker_wakes_all_its_polls(wakeup: Wakeup) -> None:
    with (
        wakeup.waiting("w", uuid4(), (), ()) as one,
        wakeup.waiting("w", uuid4(), (), ()) as other,
        wakeup.waiting("v", uuid4(), {"t"}, {"q"}) as stranger,
    ):
        wakeup.notify(Changes(workers=frozenset({"w"})))
        assert [woken(waiter) for waiter in (one, other, stranger)] == [True, True, False]


def test_newer_poll_of_an_instance_ends_the_older(wakeup: Wakeup) -> None:
    instance = uuid4()
    with wakeup.waiting("w", instance, {"t"}, {"q"}) as older:
        with wakeup.waiting("w", instance, {"t"}, {"q"}) as newer:
            assert not older.wait(LONG)
            assert older.superseded
            wakeup.notify(ready())
            assert woken(newer)
        assert wakeup.parked == 0


def test_superseded_poll_that_leaves_does_not_take_the_newer_along(wakeup: Wakeup) -> None:
    instance = uuid4()
    older = wakeup.waiting("w", instance, {"t"}, {"q"})
    older.__enter__()
    with wakeup.waiting("w", instance, {"t"}, {"q"}):
        older.__exit__(None, None, None)
        assert wakeup.parked == 1


def test_instances_of_two_workers_do_not_mix(wakeup: Wakeup) -> None:
    instance = uuid4()
    with wakeup.waiting("w", instance, {"t"}, {"q"}) as one, wakeup.waiting("v", instance, {"t"}, {"q"}):
        assert not one.superseded


def test_waiting_above_the_limit_is_refused(wakeup: Wakeup) -> None:
    wakeup.max_waiters = 1
    instance = uuid4()
    with wakeup.waiting("w", instance, {"t"}, {"q"}) as parked:
        with wakeup.waiting("w", uuid4(), {"t"}, {"q"}) as refused:
            assert refused.refused
            assert not refused.wait(LONG)
        with wakeup.waiting("w", instance, {"t"}, {"q"}) as again:
            assert not again.refused
        assert not parked.refused


def test_release_sends_everybody_away_for_good(wakeup: Wakeup) -> None:
    with wakeup.waiting("w", uuid4(), {"t"}, {"q"}) as waiter:
        threading.Timer(0.01, wakeup.release).start()
        assert not waiter.wait(LONG)
        wakeup.notify(ready())
        assert not waiter.wait(LONG)
    with wakeup.waiting("w", uuid4(), {"t"}, {"q"}) as late:
        assert late.refused


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, lambda *_: None, [].append])
def test_no_other_handler_of_term_is_taken_for_an_end(handler: Any) -> None:
    before = signal.signal(signal.SIGTERM, handler)
    try:
        assert not is_ending()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_no_wake_is_lost_between_threads(wakeup: Wakeup) -> None:
    """Producers add, waiters take as the leases view does: claim, and wait only when there was nothing."""
    jobs, taken, lock, total = [0], [0], threading.Lock(), 400

    def claim() -> bool:
        with lock:
            if jobs[0]:
                jobs[0] -= 1
                taken[0] += 1
                return True
            return False

    def work() -> None:
        while taken[0] < total:
            with wakeup.waiting("w", uuid4(), {"t"}, {"q"}) as waiter:
                while not claim() and taken[0] < total:
                    assert waiter.wait(LONG)
        wakeup.wake_all()

    def produce() -> None:
        for _ in range(total // 4):
            with lock:
                jobs[0] += 1
            wakeup.notify(ready())

    threads = [threading.Thread(target=work) for _ in range(6)]
    threads += [threading.Thread(target=produce) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert taken[0] == total
    assert not any(thread.is_alive() for thread in threads)


# --- between processes ---------------------------------------------------------------------------------


def listening(database: Database) -> Wakeup:
    return Wakeup(database, max_waiters=100)


@pytest.fixture
def two_processes(
    database_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[tuple[Wakeup, Database]]:
    """A listening process that looks for itself every so many seconds, and another process's database."""
    monkeypatch.setattr("outsourced.server.listener.LOOK_EVERY", getattr(request, "param", 0.1))
    here, there = Database(database_url), Database(database_url)
    add_pair(there)
    wakeup = listening(here)
    yield wakeup, there
    wakeup.stop()
    here.dispose()
    there.dispose()


def add_pair(database: Database) -> None:
    with database.connect() as connection:
        for statement in (
            "INSERT INTO outsourced_queues (id, name, paused, is_default, created_at)"
            " VALUES (1, 'q', false, false, '2026-01-01 00:00:00+00:00')",
            "INSERT INTO outsourced_tasks (id, name) VALUES (1, 't')",
            "INSERT INTO outsourced_queue_tasks (queue_id, task_id) VALUES (1, 1)",
        ):
            connection.execute(text(statement))


def add_job(database: Database, job_id: UUID | None = None) -> None:
    """A claimable job, told to nobody."""
    values = {
        "queue_id": 1, "task_id": 1, "state": "unassigned", "priority": 0, "version": 1, "attempt": 0,
        "failures": 0, "losses": 0, "lost_deliveries": 0, "max_losses": 3, "has_attachment": False,
        "created_at": datetime.now(UTC), "runs_at": datetime.now(UTC),
    }  # fmt: skip
    with database.connect() as connection:
        connection.execute(insert(Job).values(id=job_id or uuid4(), **values))


def settle(waiter: Waiter) -> None:
    """Lets the wakes of the listener's start pass."""
    assert waiter.wait(LONG)
    assert not waiter.wait(0.3)


@pytest.mark.parametrize("two_processes", [LONG], indirect=True)
def test_job_of_another_process_wakes_at_once(two_processes: tuple[Wakeup, Database]) -> None:
    wakeup, there = two_processes
    with wakeup.waiting("w", uuid4(), {"t"}, {"q"}) as waiter:
        settle(waiter)
        add_job(there)
        tell_of_job(there)
        assert waiter.wait(LONG / 4)


def tell_of_job(database: Database) -> None:
    """What another process's announcer does: nothing on SQLite, where the file's version tells."""
    if database.dialect.name == "postgresql":
        payload = '["another process", [[1, "q", "t"]]]'
        with database.connect() as connection:
            connection.execute(text("SELECT pg_notify('outsourced', :payload)"), {"payload": payload})


def test_job_nobody_told_of_is_found(two_processes: tuple[Wakeup, Database]) -> None:
    wakeup, there = two_processes
    with wakeup.waiting("w", uuid4(), {"t"}, {"q"}) as waiter:
        settle(waiter)
        add_job(there)
        assert waiter.wait(LONG)


def test_act_of_a_person_elsewhere_wakes_all(two_processes: tuple[Wakeup, Database]) -> None:
    wakeup, there = two_processes
    with wakeup.waiting("w", uuid4(), (), ()) as waiter:
        settle(waiter)
        with there.connect() as connection:
            connection.execute(
                text(
                    "INSERT INTO outsourced_audit (at, actor, act, subject, details)"
                    " VALUES ('2026-01-01 00:00:00+00:00', 'admin', 'worker.lock', 'w', '{}')"
                )
            )
        assert waiter.wait(LONG)


def test_writes_that_concern_nobody_wake_nobody(two_processes: tuple[Wakeup, Database]) -> None:
    wakeup, there = two_processes
    with wakeup.waiting("w", uuid4(), {"t"}, {"q"}) as waiter:
        settle(waiter)
        with there.connect() as connection:
            connection.execute(text("INSERT INTO outsourced_tasks (id, name) VALUES (2, 'u')"))
        assert not waiter.wait(0.4)


def add_limit(database: Database, pace: float) -> None:
    """A rate limit of the task, with a job begun under it just now."""
    next_at = datetime.now(UTC) + timedelta(seconds=pace)
    with database.connect() as connection:
        connection.execute(insert(RateLimit).values(id=1, task_id=1, pace=pace, burst=1, next_at=next_at))
        connection.execute(text("UPDATE outsourced_tasks SET rate_id = 1"))


@pytest.mark.parametrize("two_processes", [LONG], indirect=True)
def test_permit_of_a_rate_limit_wakes_when_it_comes(two_processes: tuple[Wakeup, Database]) -> None:
    wakeup, there = two_processes
    add_limit(there, pace=0.5)
    add_job(there)
    add_job(there)
    with wakeup.waiting("w", uuid4(), {"t"}, {"q"}) as waiter:
        assert waiter.wait(LONG)  # of the listener's start
        assert waiter.wait(LONG / 4)


def _announce(url: str) -> None:
    Wakeup(Database(url), max_waiters=0).notify(Changes(ready={("q", "t"): 1}, workers=frozenset({"v"})))


@pytest.mark.postgres
def test_notify_crosses_processes(postgres_url: str) -> None:
    heard: list[Changes] = []
    arrived = threading.Event()

    class Hearers:
        parked = 0

        def wake(self, changes: Changes) -> None:
            if changes != Changes():
                heard.append(changes)
                arrived.set()

        def wake_all(self) -> None: ...

        def release(self) -> None: ...

    database = Database(postgres_url)
    listener = Listener(database, Hearers())
    listener.start()
    process = multiprocessing.get_context("spawn").Process(target=_announce, args=(postgres_url,))
    process.start()
    process.join(LONG)
    try:
        assert arrived.wait(LONG)
        assert heard == [Changes(ready={("q", "t"): 1}, workers=frozenset({"v"}))]
    finally:
        listener.stop()
        database.dispose()


@pytest.mark.postgres
def test_listener_survives_the_loss_of_its_connection(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    database, there = Database(postgres_url), Database(postgres_url)
    add_pair(there)
    wakeup = listening(database)
    try:
        with wakeup.waiting("w", uuid4(), {"t"}, {"q"}) as waiter:
            settle(waiter)
            with there.connect() as connection:
                connection.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
                    )
                )
            assert waiter.wait(LONG)  # it listens again, and has everybody look
        assert "next try" in caplog.text
    finally:
        wakeup.stop()
        database.dispose()
        there.dispose()


@pytest.mark.postgres
def test_announcer_sends_the_first_at_once_and_the_rest_together(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcer, "PAUSE", LONG)
    database = Database(postgres_url)
    sender = announcer.Announcer(database)
    with listen(postgres_url) as received:
        for _ in range(50):
            sender.announce(ready())
        sender.announce(ready(task="u"))
        sender.stop()
        payloads = received(3)
    database.dispose()
    first, second, third = (orjson.loads(payload)[1] for payload in payloads)
    assert first == [[1, "q", "t"]]
    assert second == [[1, "q", "u"]]
    assert third == [[49, "q", "t"]]


@pytest.mark.postgres
def test_stop_of_the_announcer_waits_for_what_is_being_sent(postgres_url: str) -> None:
    database = Database(postgres_url)
    sender = announcer.Announcer(database)
    sending, go_on = threading.Event(), threading.Event()

    def hold(*connection: object) -> None:
        if isinstance(threading.current_thread(), threading.Timer):
            sending.set()
            go_on.wait(LONG)

    event.listen(database.engine, "checkout", hold)
    while not sending.is_set():
        sender.announce(ready())
    threading.Timer(0.05, go_on.set).start()
    sender.stop()
    assert go_on.is_set()
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    database.dispose()


@pytest.mark.postgres
def test_announcer_sends_the_rest_by_itself(postgres_url: str) -> None:
    database = Database(postgres_url)
    sender = announcer.Announcer(database)
    with listen(postgres_url) as received:
        sender.announce(ready(number=1))
        sender.announce(ready(number=2))
        assert [orjson.loads(payload)[1] for payload in received(2)] == [[[1, "q", "t"]], [[2, "q", "t"]]]
    sender.stop()
    database.dispose()


def test_announcement_too_long_says_only_that_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    subjects: dict[announcer.Subject, int] = {("q", "t" * 200 + str(number)): 1 for number in range(100)}
    payload = announcer.dump(subjects)
    assert len(payload) < announcer.MAX_PAYLOAD
    monkeypatch.setattr(announcer, "_process", (os.getpid(), "another"))
    assert announcer.load(payload) is None


def test_announcement_of_this_process_is_not_heard_twice() -> None:
    assert announcer.load(announcer.dump({("q", "t"): 3})) == Changes()


@contextmanager
def listen(url: str) -> Iterator[Callable[[int], list[str]]]:
    """A function that collects so many payloads sent on our channel."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("LISTEN outsourced")
        yield lambda number: [notice.payload for notice in connection.notifies(timeout=5, stop_after=number)]
