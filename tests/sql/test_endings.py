"""The outbox of callbacks: every end of a listened owner's job is told, at least once, whoever ends it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from outsourced.records import Job, OutcomeKind, Owner
from outsourced.sql import endings, maintenance, retention
from outsourced.sql.backend import SqlBackend
from outsourced.sql.bookkeeping import Ending
from outsourced.sql.endings import MAX_TRIES, TAKEN_FOR, deliver, listen
from outsourced.states import State
from tests.sql.conftest import FAILURE, Site, new_job, pass_time

ORDER = Owner(type="Order", id="7")
TYPES = ("Order",)


class Ear:
    """Hears of jobs; raises for the first `deaf` of them."""

    def __init__(self, deaf: int = 0) -> None:
        self.heard: list[Job] = []
        self.deaf = deaf

    def __call__(self, job: Job) -> None:
        if self.deaf:
            self.deaf -= 1
            raise RuntimeError("not now")
        self.heard.append(job)


def kept(backend: SqlBackend) -> int:
    with backend.database.connect() as connection:
        return connection.scalar(select(func.count()).select_from(Ending)) or 0


def end(backend: SqlBackend, near: Site, kind: OutcomeKind = OutcomeKind.COMPLETED, **options: Any) -> None:
    backend.enqueue([new_job(owner=ORDER, **options)])
    (lease,) = near.claim()
    near.settle(lease, kind, error=FAILURE, result="3")


def expire(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job(owner=ORDER, expires_in=timedelta(seconds=1))])
    pass_time(backend, 2)
    maintenance.expire(backend)


def cancel(backend: SqlBackend, near: Site) -> None:
    job = new_job(owner=ORDER)
    backend.enqueue([job])
    backend.cancel(job.id)


def lose(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job(owner=ORDER, max_losses=0)])
    (lease,) = near.claim()
    near.begin(lease)
    pass_time(backend, lease.ttl + 1)
    maintenance.rescue(backend)


@pytest.mark.parametrize(
    ("way", "state"),
    [
        (end, State.COMPLETED),
        (lambda *who: end(*who, kind=OutcomeKind.FAILED), State.FAILED),
        (lambda *who: end(*who, kind=OutcomeKind.RETRY, max_retries=0), State.FAILED),
        (expire, State.EXPIRED),
        (cancel, State.CANCELLED),
        (lose, State.FAILED),
    ],
    ids=["complete", "fail", "retries used up", "expire", "cancel", "lost"],
)
def test_every_end_is_told_once(
    backend: SqlBackend, near: Site, way: Callable[[SqlBackend, Site], None], state: State
) -> None:
    listen(backend, TYPES)
    ear = Ear()
    way(backend, near)
    assert deliver(backend, TYPES, ear) == 1
    assert deliver(backend, TYPES, ear) == 0
    (job,) = ear.heard
    assert (job.owner, job.state) == (ORDER, state)
    assert kept(backend) == 0


def test_told_with_result(backend: SqlBackend, near: Site) -> None:
    listen(backend, TYPES)
    ear = Ear()
    end(backend, near)
    deliver(backend, TYPES, ear)
    assert ear.heard[0].result == "3"


def test_what_has_not_ended_or_is_nobody_s_is_not_kept(backend: SqlBackend, near: Site) -> None:
    listen(backend, TYPES)
    backend.enqueue([new_job(owner=Owner(type="Other", id="7")), new_job()])
    for lease in near.claim():
        near.settle(lease, OutcomeKind.COMPLETED)
    end(backend, near, OutcomeKind.RETRY)
    assert kept(backend) == 0


def test_ends_before_anybody_listens_are_not_kept(backend: SqlBackend, near: Site) -> None:
    end(backend, near)
    listen(backend, TYPES)
    assert deliver(backend, TYPES, Ear()) == 0


def test_a_process_tells_only_what_it_has_callbacks_for(backend: SqlBackend, near: Site) -> None:
    listen(backend, TYPES)
    end(backend, near)
    assert deliver(backend, ("Invoice",), Ear()) == 0
    assert deliver(backend, TYPES, Ear()) == 1


def test_a_callback_that_raises_is_called_again_later(
    backend: SqlBackend, near: Site, caplog: pytest.LogCaptureFixture
) -> None:
    listen(backend, TYPES)
    end(backend, near)
    ear = Ear(deaf=1)
    with caplog.at_level(logging.ERROR, logger="outsourced"):
        assert deliver(backend, TYPES, ear) == 0
    assert "not now" in caplog.text
    assert deliver(backend, TYPES, ear) == 0
    pass_time(backend, 7)
    assert deliver(backend, TYPES, ear) == 1
    assert len(ear.heard) == 1


def test_a_callback_that_always_raises_is_given_up(
    backend: SqlBackend, near: Site, caplog: pytest.LogCaptureFixture
) -> None:
    listen(backend, TYPES)
    end(backend, near)
    for tries in range(1, MAX_TRIES + 1):
        deliver(backend, TYPES, Ear(deaf=1))
        pass_time(backend, tries**4 + 6)
    assert kept(backend) == 0
    assert f"try {MAX_TRIES} of {MAX_TRIES}" in caplog.text


def test_an_end_that_was_taken_and_not_told_is_told_by_another(backend: SqlBackend, near: Site) -> None:
    """The process that had taken it died."""
    listen(backend, TYPES)
    end(backend, near)
    ear = Ear()

    def die(job: Job) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        deliver(backend, TYPES, die)
    assert deliver(backend, TYPES, ear) == 0
    pass_time(backend, TAKEN_FOR.total_seconds() + 1)
    assert deliver(backend, TYPES, ear) == 1
    assert len(ear.heard) == 1


def test_callbacks_are_called_outside_of_transactions(backend: SqlBackend, near: Site) -> None:
    listen(backend, TYPES)
    end(backend, near)
    assert deliver(backend, TYPES, lambda job: backend.enqueue([new_job()])) == 1


def test_a_job_that_lives_again_is_told_at_its_next_end(backend: SqlBackend, near: Site) -> None:
    listen(backend, TYPES)
    end(backend, near, OutcomeKind.FAILED)
    (job,) = backend.jobs()
    backend.requeue(job.id)
    ear = Ear()
    deliver(backend, TYPES, ear)
    assert ear.heard == []
    (lease,) = near.claim()
    near.settle(lease, OutcomeKind.COMPLETED)
    deliver(backend, TYPES, ear)
    assert [job.state for job in ear.heard] == [State.COMPLETED]


def test_types_that_no_process_speaks_for_are_listened_to_no_more(backend: SqlBackend, near: Site) -> None:
    listen(backend, TYPES)
    end(backend, near, OutcomeKind.FAILED)
    pass_time(backend, endings.LISTENS_FOR.total_seconds() - 5)
    assert retention.prune(backend)["ends nobody listens to"] == 0
    pass_time(backend, 10)
    assert retention.prune(backend)["ends nobody listens to"] == 1
    end(backend, near)
    assert kept(backend) == 0
