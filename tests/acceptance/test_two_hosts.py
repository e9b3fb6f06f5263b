"""Two web hosts on one PostgreSQL and one storage: what happens on one is known on the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from uuid import UUID

import pytest
import requests
from sqlalchemy import make_url

import outsourced
from outsourced.states import State
from tests.acceptance.conftest import Deploy, Say, needs_worker
from tests.acceptance.deployment import QUEUE, Deployment, deployed
from tests.acceptance.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    needs_worker,
    pytest.mark.parametrize(
        "database_url", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True
    ),
]

#: seconds; a host that heard nothing looks once a second, and would find a job after half of one
AT_ONCE = 0.3


def address(deployment: Deployment, host: int) -> str:
    """Of our blueprint on this host, past the proxy that spreads requests."""
    return f"http://127.0.0.1:{deployment.ports[host]}/outsourced"


@pytest.fixture
def deployment(deploy: Deploy) -> Deployment:
    """The worker is configured for the second host."""
    deployment = deploy(servers=2)
    deployment.flask("init", address(deployment, 1))
    deployment.add_worker("near", "-P", "threads", "-c", "1")
    return deployment


@pytest.fixture
def client(deployment: Deployment) -> Iterator[outsourced.Client]:
    """A producer that knows the first host only."""
    deployment.flask("client", "create", "shop")
    deployment.flask("client", "allow", "shop", QUEUE)
    file = deployment.folder / "client.yml"
    deployment.flask("client", "config", "-o", str(file), "shop")
    client = outsourced.Client(file, url=address(deployment, 0))
    yield client
    client.close()


def begun_after(deployment: Deployment, client: outsourced.Client) -> float:
    """Seconds from the call that enqueues on one host to the task's start by the worker of the other."""
    asked_at = time.monotonic()
    job = UUID(client.enqueue("chore", 0.001, queue=QUEUE).id)
    wait_until(lambda: deployment.state(job) is State.COMPLETED)
    (run,) = deployment.ledger.of(job)
    return run.began - asked_at


def test_job_enqueued_on_one_host_wakes_the_poll_parked_on_the_other(
    deployment: Deployment, client: outsourced.Client, say: Say
) -> None:
    begun_after(deployment, client)  # the first one waits for tokens, imports and the worker
    seconds = [begun_after(deployment, client) for _ in range(9)]
    say(f"median {median(seconds) * 1000:.0f} ms from one host to the worker of the other")
    assert median(seconds) < AT_ONCE


def test_file_that_came_to_one_host_is_fetched_from_the_other(
    deployment: Deployment, client: outsourced.Client
) -> None:
    result = client.enqueue("copy", queue=QUEUE, attachment=("a.bin", b"abc" * 1000))
    result.get(timeout=20)
    with result.files["copy"].open() as file:
        assert file.read() == b"abc" * 1000


def test_both_hosts_are_healthy_and_either_may_go(deployment: Deployment, client: outsourced.Client) -> None:
    def status(host: int) -> int:
        return requests.get(f"{address(deployment, host)}/healthz", timeout=10).status_code

    wait_until(lambda: [status(0), status(1)] == [200, 200])
    deployment.servers[0].kill_all()
    (job,) = deployment.enqueue("chore", 0.001)
    deployment.wait_finished()
    assert deployment.state(job) is State.COMPLETED
    assert status(1) == 200


def test_second_host_in_the_databases_url_is_used_where_the_first_is_away(
    tmp_path: Path, database_url: str
) -> None:
    url = make_url(database_url)
    hosts = ("127.0.0.1:9", f"{url.host}:{url.port or 5432}")
    both = url.set(host=None, port=None, query={"host": hosts, "target_session_attrs": "read-write"})
    with deployed(tmp_path, both.render_as_string(hide_password=False)) as deployment:
        deployment.add_worker("near", "-P", "threads", "-c", "1")
        (job,) = deployment.enqueue("chore", 0.001)
        deployment.wait_finished()
        assert deployment.state(job) is State.COMPLETED
        assert not deployment.servers[0].says("cannot be reached")
        assert not deployment.servers[0].says("listen")
