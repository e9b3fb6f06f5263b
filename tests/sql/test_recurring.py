"""Schedules: declared by apps, ticking once each however many look, and skipped with a reason."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

import pytest

from outsourced import schedules
from outsourced.app.periodic import Entry
from outsourced.errors import ConfigurationError, NotFound, QueueFull
from outsourced.schedules import crontab, schedule
from outsourced.shown import ScheduleInfo
from outsourced.sql import audit, maintenance, queues, recurring
from outsourced.sql.backend import SqlBackend
from tests.sql.conftest import TASK, Site, new_job, pass_time
from tests.sql.crowd import crowd, recur

ADMIN = "admin:test"
MINUTE = timedelta(minutes=1)


def entry(name: str = "minutely", when: schedule | crontab | None = None, **more: Any) -> Entry:
    return Entry(name=name, task=TASK, schedule=when or schedule(MINUTE), args=(1, 2), **more)


def declare(backend: SqlBackend, *entries: Entry, by: str = "shop", zone: str = "UTC") -> None:
    recurring.declare(backend, entries, zone=zone, declared_by=by)


def info(backend: SqlBackend, name: str = "minutely") -> ScheduleInfo:
    return {one.name: one for one in recurring.listing(backend.database)}[name]


def now(backend: SqlBackend) -> datetime:
    with backend.database.connect() as connection:
        return backend.database.now(connection)


def test_tick_enqueues_one_job_an_interval(backend: SqlBackend, near: Site) -> None:
    declare(backend, entry(options={"queue": "plain", "priority": 3, "expires": 10}))
    assert recurring.tick(backend) == 0
    first = info(backend).due_at
    for number in range(1, 4):
        pass_time(backend, 60.5)
        assert maintenance.tick(backend)["schedule"] == 1
        assert recurring.tick(backend) == 0
        assert info(backend).due_at == first + number * MINUTE

    jobs = backend.jobs()
    assert [(job.task, job.queue, job.priority) for job in jobs] == [(TASK, "plain", 3)] * 3
    assert jobs[0].expires_at is not None
    assert info(backend).job_id == jobs[0].id
    assert backend.history(jobs[0].id)[0].actor == "schedule:minutely"
    assert len(near.claim()) == 1  # the first two have expired


def test_ticks_missed_in_an_outage_are_made_up_for_by_one(backend: SqlBackend) -> None:
    declare(backend, entry(), entry("hourly", crontab(0)))
    due = info(backend).due_at
    pass_time(backend, 10 * 3600 + 1)

    assert recurring.tick(backend) == 2
    assert recurring.tick(backend) == 0
    assert (info(backend).due_at - due) % MINUTE == timedelta()
    assert timedelta() < info(backend).due_at - now(backend) <= MINUTE
    assert info(backend, "hourly").due_at.minute == 0


def test_declare_begins_keeps_changes_and_ends_schedules(backend: SqlBackend) -> None:
    declare(backend, entry(), entry("other"))
    declare(backend, entry("foreign"), by="elsewhere")
    begun = info(backend)
    recurring.pause(backend, "minutely", actor=ADMIN)
    pass_time(backend, 30)

    declare(backend, entry())
    assert {one.name for one in recurring.listing(backend.database)} == {"minutely", "foreign"}
    assert (info(backend).due_at, info(backend).paused) == (begun.due_at, True)

    declare(backend, entry(options={"queue": "small"}))
    assert (info(backend).due_at, info(backend).queue) == (begun.due_at, "small")

    declare(backend, entry(when=schedule(120)))
    assert info(backend).due_at > begun.due_at + MINUTE
    assert info(backend).paused

    declare(backend, entry(when=crontab(0, 9)), zone="Europe/Vienna")
    assert info(backend).due_at == schedules.next_tick(
        "0 9 * * *", "Europe/Vienna", last=now(backend), now=now(backend)
    )


def test_declare_refuses_what_could_never_be_enqueued(backend: SqlBackend) -> None:
    declare(backend, entry())
    for wrong in ({"contdown": 3}, {"priority": "high"}):
        with pytest.raises(ConfigurationError, match="broken"):
            declare(backend, entry("broken", options=wrong))
    with pytest.raises(ConfigurationError, match="broken"):
        declare(backend, Entry(name="broken", task=TASK, schedule=schedule(5), args=(object(),)))
    assert [one.name for one in recurring.listing(backend.database)] == ["minutely"]


def test_tick_into_a_full_queue_is_a_recorded_skip(
    backend: SqlBackend, caplog: pytest.LogCaptureFixture
) -> None:
    declare(backend, entry(options={"queue": "small"}))
    backend.enqueue([new_job(queue="small") for _ in range(3)])
    due = info(backend).due_at
    pass_time(backend, 61)

    with caplog.at_level(logging.WARNING):
        assert recurring.tick(backend) == 0
    assert "queue small is full" in caplog.text
    assert info(backend).skipped == "queue small is full, or its job's owner is"
    assert (info(backend).job_id, info(backend).due_at) == (None, due + MINUTE)
    assert recurring.tick(backend) == 0

    queues.empty(backend, "small", actor=ADMIN)
    pass_time(backend, 60)
    assert recurring.tick(backend) == 1
    assert info(backend).skipped is None


def test_tick_while_the_last_ones_job_lives_is_skipped_by_its_key(backend: SqlBackend) -> None:
    declare(backend, entry(options={"unique_key": "alone"}))
    pass_time(backend, 61)
    assert recurring.tick(backend) == 1
    pass_time(backend, 60)
    assert recurring.tick(backend) == 0
    assert info(backend).skipped == "a live job holds the key 'alone'"


def test_tick_into_a_queue_that_is_gone_is_skipped(backend: SqlBackend) -> None:
    queues.create(backend, "gone", actor=ADMIN)
    declare(backend, entry(options={"queue": "gone"}), entry("fine"))
    queues.destroy(backend, "gone", actor=ADMIN)
    pass_time(backend, 61)
    assert recurring.tick(backend) == 1
    assert "no queue 'gone'" in (info(backend).skipped or "")


def test_pause_leaves_ticks_out_and_resume_makes_up_for_none(backend: SqlBackend) -> None:
    declare(backend, entry())
    due = info(backend).due_at
    assert recurring.pause(backend, "minutely", actor=ADMIN).changed
    assert not recurring.pause(backend, "minutely", actor=ADMIN).changed
    pass_time(backend, 601)
    assert recurring.tick(backend) == 0

    assert recurring.resume(backend, "minutely", actor=ADMIN).changed
    assert recurring.tick(backend) == 0
    assert info(backend).due_at == due + 10 * MINUTE
    assert [act.act for act in audit.entries(backend.database)] == ["schedule.resume", "schedule.pause"]


def test_resume_before_the_next_tick_leaves_it_when_it_is(backend: SqlBackend) -> None:
    declare(backend, entry())
    due = info(backend).due_at
    recurring.pause(backend, "minutely", actor=ADMIN)
    recurring.resume(backend, "minutely", actor=ADMIN)
    assert info(backend).due_at == due


def test_run_enqueues_between_the_ticks(backend: SqlBackend) -> None:
    declare(backend, entry(options={"queue": "small"}))
    due = info(backend).due_at
    job_id = recurring.run(backend, "minutely", actor=ADMIN)
    assert backend.history(job_id)[0].actor == ADMIN
    assert info(backend).due_at == due
    backend.enqueue([new_job(queue="small") for _ in range(2)])
    with pytest.raises(QueueFull):
        recurring.run(backend, "minutely", actor=ADMIN)


@pytest.mark.parametrize("verb", [recurring.pause, recurring.resume, recurring.run])
def test_a_schedule_that_is_not_there_is_named_with_those_like_it(backend: SqlBackend, verb: Any) -> None:
    declare(backend, entry())
    with pytest.raises(NotFound, match="did you mean 'minutely'"):
        verb(backend, "minutly", actor=ADMIN)


@pytest.mark.slow
def test_each_tick_is_one_job_however_many_processes_look(backend: SqlBackend) -> None:
    steps, processes = 30, 4
    declare(backend, *(entry(f"every {number}") for number in range(3)))
    url = backend.database.engine.url.render_as_string(hide_password=False)

    with crowd(processes) as (pool, _):
        takings = [pool.submit(recur, url, steps, MINUTE) for _ in range(processes)]
        taken = [taking.result(timeout=110) for taking in takings]

    assert sum(taken) == len(backend.jobs(limit=500)) == 3 * steps
