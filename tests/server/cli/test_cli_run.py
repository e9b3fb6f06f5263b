"""`worker run`: whom it makes, hires and leaves alone, and what it refuses to begin with."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator

import pytest
from flask import Flask, current_app
from flask.cli import ScriptInfo

import outsourced
from outsourced.server.cli.in_process import AppEquipment, AppLocator
from outsourced.server.services import Services
from outsourced.sql import overview
from outsourced.states import State
from tests.server.cli.conftest import URL, Cli, refused

#: ends when there is nothing to do, in this process
ONCE = ("--once", "-P", "threads", "-c", "1")
OURSELVES = f"server@{socket.gethostname()}"


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The test's own signal handlers, which a worker replaces."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def look(forget_tasks: None) -> None:
    """A task that needs the app."""

    @outsourced.task(name="look")
    def look() -> str:
        return current_app.name


@pytest.fixture
def installed(do: Callable[..., str], look: None) -> None:
    """An installation with the queues `a` and `b`, and nobody to work them."""
    do("init", URL)
    do("queue", "create", "a")
    do("queue", "create", "b")


def queues_of(services: Services, name: str) -> tuple[str, ...]:
    return overview.worker(services.database, name).queues


@pytest.mark.usefixtures("installed")
def test_run_works_jobs_in_the_app(do: Callable[..., str], services: Services) -> None:
    do("job", "enqueue", "look")
    do("worker", "run", *ONCE)
    (job,) = services.backend.jobs()
    assert (job.state, job.worker) == (State.COMPLETED, OURSELVES)
    found = services.backend.job(job.id)
    assert found is not None
    assert found.result == '"host"'


@pytest.mark.usefixtures("installed")
def test_run_makes_a_worker_and_hires_it_for_every_queue(run: Cli, services: Services) -> None:
    told = run("worker", "run", *ONCE).stderr
    assert queues_of(services, OURSELVES) == ("a", "b")
    assert f"Worker {OURSELVES!r} works a, b: `flask outsourcer worker hire {OURSELVES} QUEUE`" in told


@pytest.mark.usefixtures("installed")
def test_run_leaves_a_worker_as_it_is(do: Callable[..., str], run: Cli, services: Services) -> None:
    do("worker", "run", "near", "-Q", "a", *ONCE)
    assert queues_of(services, "near") == ("a",)
    do("worker", "fire", "near", "a")
    told = run("worker", "run", "near", "-Q", "b", *ONCE).stderr
    assert queues_of(services, "near") == ()
    assert "-Q changes nothing" in told
    assert "works no queue" in told


@pytest.mark.usefixtures("installed")
def test_run_makes_nobody_for_a_queue_that_is_not_there(run: Cli, services: Services) -> None:
    assert "there is no queue 'aa'" in refused(run("worker", "run", "-Q", "b,aa", *ONCE))
    assert overview.workers(services.database) == []


@pytest.mark.usefixtures("installed")
def test_run_refuses_the_name_of_a_client(do: Callable[..., str], run: Cli) -> None:
    do("client", "create", "shop")
    assert "another account of this name" in refused(run("worker", "run", "shop", *ONCE))


@pytest.mark.usefixtures("look")
def test_run_without_a_queue_says_what_to_type(do: Callable[..., str], run: Cli) -> None:
    do("init", URL)
    assert "`flask outsourcer queue create NAME`" in refused(run("worker", "run", *ONCE))


def test_run_without_a_task_says_what_to_do(
    do: Callable[..., str], run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outsourced.registry.registry, "_tasks", {})
    do("init", URL)
    assert "OUTSOURCED_INCLUDE" in refused(run("worker", "run", *ONCE))


@pytest.mark.usefixtures("installed")
def test_run_refuses_processes_that_could_not_load_the_app(run: Cli) -> None:
    assert "`-P threads`" in refused(run("worker", "run", "-P", "processes"))


@pytest.mark.usefixtures("look")
def test_slot_process_loads_the_app_as_flask_found_it(app: Flask) -> None:
    locator = AppLocator.by(ScriptInfo(create_app=lambda: app))
    bench = AppEquipment(locator, "near")()
    assert "look" in bench.registry
    with bench.around():
        assert current_app.name == "host"
