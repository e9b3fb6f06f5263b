"""A group of ten thousand, as a chord's header: one request, bounded memory, and all results in place."""

from __future__ import annotations

import sys

import pytest

from tests.acceptance.conftest import Deploy, Say, needs_worker
from tests.acceptance.deployment import Deployment
from tests.acceptance.memory import Memory
from tests.acceptance.producing import go_on, heard, producing
from tests.server.loopback import on_one_database

pytestmark = [
    pytest.mark.slow,
    needs_worker,
    on_one_database,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(300),
]

SIZE = 9_999  #: and a body: a request carries 10,000 jobs
#: MB a process may grow by: it has the whole request in hand, at some 8 KB a job
BOUND = 120

PRODUCER = """
import sys
import outsourced
from outsourced import chord, signature

def call(task, *args):
    return signature(task, args, queue=sys.argv[2])

def enqueue(size):
    return chord(call("double", number) for number in range(size))(call("total"))

with outsourced.Client(sys.argv[1]) as client:
    assert enqueue(3).get(timeout=60) == 6
    print("ready", flush=True)
    sys.stdin.readline()
    body = enqueue(int(sys.argv[3]))
    print("enqueued", flush=True)
    sys.stdin.readline()
    print(body.get(timeout=200), flush=True)
"""


def enqueuing(deployment: Deployment) -> int:
    """How many requests have asked to enqueue."""
    return sum(line.startswith("POST") and "/v1/jobs" in line for line in deployment.proxy.asked)


def test_ten_thousand_go_in_one_request_and_bounded_memory(deploy: Deploy, say: Say) -> None:
    deployment = deploy()
    worker = deployment.add_worker("near", "-P", "threads", "-c", "8")
    with producing(deployment, PRODUCER, str(SIZE)) as producer:
        (server,) = deployment.servers[0].children()
        memory = {
            "server": Memory(server.pid),
            "worker": Memory(worker.pid),
            "producer": Memory(producer.pid),
        }
        before = enqueuing(deployment)
        go_on(producer)
        assert heard(producer) == "enqueued"
        assert enqueuing(deployment) == before + 1
        go_on(producer)
        assert int(heard(producer)) == SIZE * (SIZE - 1)
        grown = {name: round(one.grown(), 1) for name, one in memory.items()}
    say(f"a chord of {SIZE}: grown by {grown} MB")
    assert max(grown.values()) < BOUND
