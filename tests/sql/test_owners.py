"""The jobs of a Thing: counted by state, gone through, cancelled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import outsourced
from outsourced import backend as backends
from outsourced.errors import ConfigurationError
from outsourced.records import Owner
from outsourced.sql import jobs
from outsourced.sql.backend import SqlBackend
from outsourced.states import State
from tests.sql.conftest import Site, new_job


class Order(outsourced.HasJobs):
    """A thing of the host's."""

    def __init__(self, id: int | None) -> None:
        self.id = id


@pytest.fixture
def order(backend: SqlBackend) -> Iterator[Order]:
    """With three jobs, beside one of another order and one of nobody."""
    mine, other = Owner(type="Order", id="7"), Owner(type="Order", id="8")
    backend.enqueue([new_job(owner=mine), new_job(owner=mine), new_job(owner=mine)])
    backend.enqueue([new_job(owner=other), new_job()])
    with backends.use(backend):
        yield Order(7)


def test_thing_counts_its_jobs_by_state(order: Order, near: Site) -> None:
    (lease, *_) = near.claim(slots=1)
    near.begin(lease)
    assert order.jobs.by_state() == {State.WORKING: 1, State.UNASSIGNED: 2}
    assert (len(order.jobs), order.jobs.count("working"), order.jobs.live()) == (3, 1, 3)


def test_thing_without_jobs_has_none(order: Order) -> None:
    assert not Order(99).jobs
    assert list(Order(99).jobs) == []


def test_jobs_of_goes_through_all_pages(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PAGE", 2)
    found = list(outsourced.jobs_of(("Order", 7)))
    assert [job.owner for job in found] == [Owner(type="Order", id="7")] * 3
    assert sorted((job.id for job in found), reverse=True) == [job.id for job in found]


def test_cancel_ends_what_waits_and_stops_what_runs(order: Order, near: Site) -> None:
    (lease, *_) = near.claim(slots=1)
    assert order.jobs.cancel() == 3
    assert [command.lease_id for command in near.say().commands] == [lease.id]
    assert order.jobs.by_state() == {State.CANCELLED: 2, State.ASSIGNED: 1}
    assert outsourced.jobs_of(("Order", 8)).live() == 1


def test_thing_without_an_id_has_no_jobs_to_speak_of(order: Order) -> None:
    with pytest.raises(ValueError, match="flush it"):
        _ = Order(None).jobs


def test_jobs_of_needs_the_server() -> None:
    with backends.use(object()), pytest.raises(ConfigurationError, match="server"):  # type: ignore[arg-type]
        outsourced.jobs_of(("Order", 7)).count()
