"""Callbacks of a host app: called in an app context, by the process that serves or by `maintain`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, current_app

import outsourced
from outsourced import callbacks
from outsourced.owners import owner_of
from outsourced.server.services import Services
from outsourced.sql import queues
from tests.server.conftest import ADMIN
from tests.sql.conftest import new_job


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """No callbacks but those of the test."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(callbacks, "_callbacks", found)
    return found


class Order:
    id = 7


def end_a_job(services: Services) -> None:
    job = new_job(queue="q", owner=owner_of(Order()))
    services.backend.enqueue([job])
    services.backend.cancel(job.id)


def test_on_job_end_calls_in_an_app_context(host: Flask, services: Services) -> None:
    heard = []

    @outsourced.on_job_end(Order, "Invoice")
    def note(job: Any) -> None:
        heard.append((current_app.name, job.owner.id, str(job.state)))

    @outsourced.on_job_end("Order")
    def note_too(job: Any) -> None:
        heard.append((current_app.name, job.owner.id, "too"))

    queues.create(services.backend, "q", actor=ADMIN)
    assert services.teller.tick() == 0
    end_a_job(services)
    assert services.teller.tick() == 1
    assert heard == [("host", "7", "cancelled"), ("host", "7", "too")]


def test_the_thread_tells_and_stops(host: Flask, services: Services) -> None:
    queues.create(services.backend, "q", actor=ADMIN)
    done = threading.Event()
    services.teller.start()  # nothing is registered: no thread
    assert "outsourced-callbacks" not in {thread.name for thread in threading.enumerate()}

    outsourced.on_job_end(Order)(lambda job: done.set())
    services.teller.start()
    end_a_job(services)
    assert done.wait(30)
    services.teller.stop()
    assert "outsourced-callbacks" not in {thread.name for thread in threading.enumerate()}


def test_more_than_one_batch_is_told_in_one_tick(
    host: Flask, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []
    outsourced.on_job_end(Order)(heard.append)
    monkeypatch.setattr("outsourced.sql.endings.BATCH", 2)
    queues.create(services.backend, "q", actor=ADMIN)
    services.teller.tick()
    for _ in range(5):
        end_a_job(services)
    assert services.teller.tick() == 5
    assert len(heard) == 5


@pytest.mark.parametrize("named", [(), (7,), ("",), (None,)])
def test_on_job_end_wants_types(named: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="on_job_end"):
        outsourced.on_job_end(*named)


def test_maintain_once_tells_too(host: Flask, services: Services) -> None:
    heard: list[Any] = []
    outsourced.on_job_end(Order)(heard.append)
    queues.create(services.backend, "q", actor=ADMIN)
    run: Callable[..., Any] = host.test_cli_runner().invoke
    assert run(args=["outsourcer", "maintain", "--once"]).exit_code == 0
    end_a_job(services)
    assert "tell: 1" in run(args=["outsourcer", "maintain", "--once"]).output
    assert len(heard) == 1
