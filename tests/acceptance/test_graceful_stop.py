"""A server that is told to end does so at once, though workers wait at it for jobs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from outsourced.http.backend import HttpConsumer
from outsourced.records import ExchangeReply, ExchangeRequest, Instance
from outsourced.sql import overview
from outsourced_worker.assembly import Connect
from outsourced_worker.config import load_config
from tests.acceptance.conftest import Deploy
from tests.acceptance.deployment import QUEUE, Deployment
from tests.acceptance.waiting import wait_until

pytestmark = pytest.mark.slow

#: seconds that a poll is parked for, and a stop would wait for it: far beyond a test's patience
LONG = 100


@pytest.fixture
def patient(deploy: Deploy) -> Deployment:
    """A deployment whose servers park polls for long, and end gracefully."""
    return deploy(servers=0, settings={"OUTSOURCED_POLL_WAIT": f"{LONG}s"})


@pytest.fixture
def consumer(patient: Deployment, tmp_path: Path) -> Iterator[HttpConsumer]:
    """A worker's connection, with the credentials that the server gave it."""
    patient.flask("worker", "create", "near")
    patient.flask("worker", "hire", "near", QUEUE)
    patient.flask("worker", "config", "--include", "chores", "-o", str(tmp_path / "near.yml"), "near")
    config, _ = load_config(tmp_path / "near.yml", {}, {})
    consumer = Connect(config)()
    yield consumer
    consumer.close()


def test_stop_lets_parked_polls_go(patient: Deployment, consumer: HttpConsumer) -> None:
    server = patient.add_server("--graceful-timeout", str(LONG))
    poll = ExchangeRequest(
        instance=Instance(id=uuid4(), host="here", pid=1, version="1"),
        claim_id=uuid4(),
        slots=1,
        wait=60,
        tasks=("chore",),
    )
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(consumer.exchange, poll)
        wait_until(lambda: overview.worker(patient.backend.database, "near").instances != ())
        server.terminate()
        assert server.wait_ended() == 0
        assert reply.result() == ExchangeReply()
