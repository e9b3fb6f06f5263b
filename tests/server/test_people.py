"""People's verbs in Python: the same acts as the commands, audited, in force at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from flask import Flask

import outsourced
from outsourced.errors import AlreadyExists, InvalidTransition, NotFound, UnknownQueue, WorkerLocked
from outsourced.server.services import Services
from outsourced.sql import audit
from outsourced.states import State
from tests.server.conftest import Colleague
from tests.server.loopback import RemoteWorker, served
from tests.sql.conftest import TASK, new_job


@pytest.fixture(autouse=True)
def inside(host: Flask) -> Iterator[None]:
    with host.app_context():
        yield


def acts(services: Services) -> list[tuple[str, str, str]]:
    return [(entry.actor, entry.act, entry.subject) for entry in audit.entries(services.database, limit=50)][
        ::-1
    ]


def test_acts_read_on_and_are_audited(services: Services) -> None:
    outsourced.queues.create("gpu", capacity=5)
    outsourced.queues.create("reports")
    outsourced.workers.create("site-42").hire("gpu", "reports").allow("reports").pause().resume()
    outsourced.workers.by("jane")["site-42"].fire("reports").lock()

    info = outsourced.workers["site-42"].info
    assert (info.state, info.queues, info.paused) == ("locked", ("gpu",), False)
    assert outsourced.queues["gpu"].info.workers == ("site-42",)
    assert acts(services)[2:] == [
        ("app", "queue.create", "gpu"),
        ("app", "queue.create", "reports"),
        ("app", "worker.create", "site-42"),
        ("app", "worker.hire", "site-42"),
        ("app", "worker.hire", "site-42"),
        ("app", "worker.allow", "site-42"),
        ("app", "worker.pause", "site-42"),
        ("app", "worker.resume", "site-42"),
        ("admin:jane", "worker.fire", "site-42"),
        ("admin:jane", "worker.lock", "site-42"),
    ]


def test_queues_do_what_they_are_told(services: Services) -> None:
    queue = outsourced.queues.create("small", capacity=1)
    outsourced.workers.create("w")
    queue.hire("w").pause()
    assert (queue.info.paused, queue.info.default, queue.info.workers) == (True, True, ("w",))
    queue.resume().change(capacity=0).fire("w")
    assert (queue.info.paused, queue.info.capacity, queue.info.workers) == (False, None, ())
    services.backend.enqueue([new_job(), new_job()])
    with pytest.raises(InvalidTransition, match="queue empty small"):
        queue.destroy()
    assert queue.empty() == (2, 0)
    assert queue.info.counts == {State.CANCELLED: 2}
    queue.destroy()
    assert "small" not in outsourced.queues


def test_things_are_found_by_name() -> None:
    for name in ("b", "a"):
        outsourced.workers.create(name)
        outsourced.clients.create(f"client-{name}")
    assert [worker.name for worker in outsourced.workers] == ["a", "b"]
    assert (len(outsourced.clients), "client-a" in outsourced.clients, "a" in outsourced.clients) == (
        2,
        True,
        False,
    )
    assert repr(outsourced.workers["a"]) == "<Worker a>"
    with pytest.raises(NotFound, match="no worker 'c'"):
        outsourced.workers["c"]
    with pytest.raises(NotFound, match="no client 'a'"):
        outsourced.clients["a"]
    with pytest.raises(UnknownQueue, match="no queue 'q'"):
        outsourced.queues["q"]
    with pytest.raises(AlreadyExists):
        outsourced.workers.create("a")


def test_destroyed_accounts_are_gone() -> None:
    outsourced.workers.create("w").destroy()
    assert "w" not in outsourced.workers


def test_worker_works_by_the_config_it_is_given(host: Flask, services: Services) -> None:
    worker = outsourced.workers.create("w").hire(outsourced.queues.create("q").name)
    settings = yaml.safe_load(worker.config(include=["my_tasks"]))
    assert (settings["worker"], settings["include"]) == ("w", ["my_tasks"])
    assert settings["url"] == "https://jobs.example.com/outsourced"
    (credential,) = worker.info.credentials
    assert credential.kid == settings["key_id"]
    worker.revoke(credential.kid)
    assert worker.info.credentials == ()
    worker.config()
    worker.config()
    assert len(worker.info.credentials) == 2
    worker.reset()
    assert worker.info.credentials == ()


@pytest.mark.parametrize("secret", [False, True])
def test_client_enqueues_by_the_config_it_is_given(
    host: Flask, services: Services, tmp_path: Path, secret: bool
) -> None:
    outsourced.queues.create("q")
    client = outsourced.clients.create("shop").allow("q")
    file = tmp_path / "client.yml"
    with served(host) as url:
        file.write_text(client.config(secret=secret).replace("https://jobs.example.com/outsourced", url))
        file.chmod(0o600)
        connected = outsourced.Client(file)
        connected.enqueue("t", queue="q")
        client.lock()
        with pytest.raises(WorkerLocked):
            connected.enqueue("t", queue="q")
        connected.close()
    assert client.info.state == "locked"


def test_lock_takes_back_what_a_worker_has(
    services: Services, phill: Colleague, worker: RemoteWorker
) -> None:
    services.backend.enqueue([new_job(queue="q")])
    (lease,) = worker.consumer.exchange(replace(worker.request(slots=1), tasks=(TASK,))).leases
    outsourced.workers[phill.name].lock()
    job = services.backend.job(lease.job_id)
    assert job is not None
    assert job.state is State.UNASSIGNED
    with pytest.raises(WorkerLocked):
        worker.consumer.exchange(worker.request())
    outsourced.workers[phill.name].unlock()
    worker.consumer.exchange(worker.request())
