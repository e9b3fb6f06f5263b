"""Limits per owner: exact however many producers there are, freed by ends, asked again at a commit."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from outsourced.errors import OwnerFull, QueueFull
from outsourced.records import OutcomeKind, Owner
from outsourced.sql.backend import SqlBackend
from outsourced.states import LIVE
from tests.sql.conftest import Site, new_job
from tests.sql.crowd import Repeated

MINE, OTHER = Owner(type="User", id="1"), Owner(type="User", id="2")


@pytest.fixture
def limited(backend: SqlBackend) -> SqlBackend:
    backend.owner_limits = {"User": 3}
    return backend


def live(backend: SqlBackend, owner: Owner = MINE) -> int:
    return sum(number for state, number in backend.count_of(owner).items() if state in LIVE)


def test_enqueue_refuses_what_an_owner_may_not_have(limited: SqlBackend) -> None:
    limited.enqueue([new_job(owner=MINE), new_job(owner=MINE)])
    with pytest.raises(
        OwnerFull, match="User 1 has 2 live jobs of the 3 it may have, 2 more asked for"
    ) as caught:
        limited.enqueue([new_job(owner=MINE), new_job(owner=MINE), new_job(owner=OTHER)])
    facts = {"owner": {"type": "User", "id": "1"}, "limit": 3, "free": 1, "asked": 2, "retry_after": 5}
    assert caught.value.facts == facts
    assert isinstance(caught.value, QueueFull)
    assert (live(limited), live(limited, OTHER)) == (2, 0)
    limited.enqueue([new_job(owner=MINE), new_job(owner=OTHER)])


def test_others_have_no_limit(limited: SqlBackend) -> None:
    limited.enqueue([new_job(owner=Owner(type="Order", id="1")) for _ in range(10)])
    limited.enqueue([new_job() for _ in range(10)])
    assert len(limited.jobs(limit=100)) == 20


def test_ends_make_room(limited: SqlBackend, near: Site) -> None:
    limited.enqueue([new_job(owner=MINE) for _ in range(3)])
    (lease, *_) = near.claim(slots=1)
    near.settle(lease, OutcomeKind.COMPLETED)
    limited.enqueue([new_job(owner=MINE)])
    with pytest.raises(OwnerFull):
        limited.enqueue([new_job(owner=MINE)])


def test_repeats_take_their_job_s_place(limited: SqlBackend, near: Site) -> None:
    limited.enqueue([new_job(owner=MINE, repeats_after_complete=timedelta(hours=1)) for _ in range(3)])
    for lease in near.claim():
        near.settle(lease, OutcomeKind.COMPLETED)
    assert live(limited) == 3


def test_commit_asks_again(limited: SqlBackend) -> None:
    host = create_engine(limited.database.engine.url)
    limited.enqueue([new_job(owner=MINE)])
    with Session(host) as session:
        limited.enqueue([new_job(owner=MINE), new_job(owner=MINE)], session=session)
        session.commit()
    with Session(host) as session:
        with pytest.raises(OwnerFull):
            limited.enqueue([new_job(owner=MINE)], session=session)
        session.rollback()
    host.dispose()
    assert live(limited) == 3


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_commit_is_refused_where_others_were_first(limited: SqlBackend) -> None:
    host = create_engine(limited.database.engine.url)
    with Session(host) as session:
        limited.enqueue([new_job(owner=MINE), new_job(owner=MINE)], session=session)
        limited.enqueue([new_job(owner=MINE), new_job(owner=MINE)])
        with pytest.raises(OwnerFull):
            session.commit()
        session.rollback()
    host.dispose()
    assert live(limited) == 2


def test_limit_holds_in_a_crowd(limited: SqlBackend, near: Site) -> None:
    limited.owner_limits = {"User": 10}
    depths: list[int] = []

    def produce(number: int) -> int:
        chance, refused = random.Random(number), 0
        for _ in range(20):
            try:
                limited.enqueue([new_job(owner=MINE) for _ in range(chance.randint(1, 3))])
            except OwnerFull:
                refused += 1
        return refused

    def work() -> None:
        for lease in near.claim(slots=2):
            near.settle(lease, OutcomeKind.COMPLETED)

    with Repeated(lambda: depths.append(live(limited))), Repeated(work), ThreadPoolExecutor(6) as producers:
        refused = sum(producers.map(produce, range(6)))
    assert refused
    assert max(depths) <= 10
    while limited.count_of(MINE).keys() & LIVE:
        work()
    for _ in range(10):
        limited.enqueue([new_job(owner=MINE)])
    with pytest.raises(OwnerFull):
        limited.enqueue([new_job(owner=MINE)])
