"""How often a token may be asked for: by worker and address, for a while only, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from outsourced.errors import TooManyRequests
from outsourced.server import token_rate
from outsourced.server.services import Services
from outsourced.server.token_rate import TokenRate
from tests.server.conftest import Colleague
from tests.server.loopback import RemoteWorker, on_one_database, served


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def refused(rate: TokenRate, client: str = "phill", address: str = "192.0.2.1") -> float:
    """Seconds a request is sent away for; 0 for one that was admitted."""
    try:
        rate.admit(client, address)
    except TooManyRequests as error:
        return float(error.retry_after)
    return 0.0


def test_admit_takes_a_minutes_worth_at_once_and_then_one_by_one(clock: Clock) -> None:
    rate = TokenRate(6, clock=clock)
    assert [refused(rate) for _ in range(7)] == [0, 0, 0, 0, 0, 0, 10]
    clock.now += 10
    assert [refused(rate), refused(rate)] == [0, 10]
    clock.now += 3600
    assert [refused(rate) for _ in range(7)] == [0, 0, 0, 0, 0, 0, 10]


def test_refusals_never_add_up(clock: Clock) -> None:
    rate = TokenRate(1, clock=clock)
    rate.admit("phill", "192.0.2.1")
    assert {refused(rate) for _ in range(1000)} == {60}
    clock.now += 60
    assert not refused(rate)


def test_admit_counts_workers_and_addresses_apart(clock: Clock) -> None:
    rate = TokenRate(1, clock=clock)
    for client, address in (("phill", "192.0.2.1"), ("phill", "192.0.2.2"), ("joe", "192.0.2.1")):
        assert not refused(rate, client, address)
        assert refused(rate, client, address)


def test_memory_is_bounded_whatever_names_are_sent(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_rate, "MAX_PAIRS", 10)
    rate = TokenRate(1, clock=clock)
    for number in range(1000):
        rate.admit(f"{number:05}" + "x" * 60_000, "192.0.2.1")
    assert len(rate) == 10
    assert max(len(client) for client, _ in rate._clear_at) <= 255


def test_no_limit_remembers_nobody(clock: Clock) -> None:
    rate = TokenRate(0, clock=clock)
    assert {refused(rate) for _ in range(1000)} == {0}
    assert len(rate) == 0


@pytest.fixture
def frugal(services: Services, clock: Clock) -> None:
    """The host's server gives a worker two tokens a minute."""
    services._token_rate = TokenRate(2, clock=clock)


@on_one_database
@pytest.mark.usefixtures("frugal")
def test_token_endpoint_sends_one_who_asks_too_often_away_for_a_while(
    phill: Colleague, enrol: Callable[[str], Colleague], clock: Clock
) -> None:
    assert [phill.ask().status_code for _ in range(2)] == [200, 200]

    answer = phill.ask()
    assert (answer.status_code, answer.json["code"]) == (429, "too_many_requests")
    assert answer.headers["Retry-After"] == "30"
    assert enrol("joe").ask().status_code == 200

    clock.now += 30
    assert phill.ask().status_code == 200


@on_one_database
@pytest.mark.usefixtures("frugal")
def test_strangers_are_sent_away_too(phill: Colleague) -> None:
    forged = phill.assertion(iss="nobody", sub="nobody")
    assert [phill.ask(forged).status_code for _ in range(3)] == [401, 401, 429]


@on_one_database
@pytest.mark.usefixtures("frugal")
def test_worker_hears_how_long_to_stay_away(host: Flask, phill: Colleague) -> None:
    with served(host) as url:
        worker = RemoteWorker(phill, url)
        for _ in range(2):
            worker.transport._session._fetch()
        with pytest.raises(TooManyRequests) as raised:
            worker.transport._session._fetch()
        worker.consumer.close()
    assert raised.value.retry_after == 30
