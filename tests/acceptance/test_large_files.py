"""A large file on its whole way, in memory that does not grow with it: producer, server, worker, and back.

TEST_FILE_SIZE is in MB; with 1024 the whole takes a minute.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from outsourced.states import State
from tests.acceptance.conftest import Deploy, Say, needs_worker
from tests.acceptance.deployment import Deployment
from tests.acceptance.memory import Memory
from tests.acceptance.producing import go_on, heard, producing
from tests.objectstore import new_bucket, object_store
from tests.server.loopback import on_one_database

pytestmark = [
    pytest.mark.slow,
    needs_worker,
    on_one_database,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(600),
]

MB = 1024 * 1024
SIZE = int(os.environ.get("TEST_FILE_SIZE", "256"))
#: MB a process may grow by
BOUND = 64

PRODUCER = """
import sys
import outsourced
with outsourced.Client(sys.argv[1]) as client:
    small = client.enqueue("copy", queue=sys.argv[2], attachment=("small", b"x"))
    small.get(timeout=60)
    with small.files["copy"].open() as file:
        assert file.read() == b"x"
    print("ready", flush=True)
    sys.stdin.readline()
    large = client.enqueue("copy", queue=sys.argv[2], attachment=sys.argv[3])
    large.get(timeout=500)
    with large.files["copy"].open() as file:
        size = 0
        while piece := file.read(1 << 20):
            size += len(piece)
    print(large.id, size, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(params=["folder", "s3"])
def deployment(request: pytest.FixtureRequest, deploy: Deploy) -> Iterator[Deployment]:
    """With files in a folder, and in an object store."""
    settings = {"OUTSOURCED_MAX_ATTACHMENT": str(4096 * MB)}
    if request.param == "folder":
        yield deploy(settings=settings)
        return
    with object_store() as environment:
        deployment = deploy(settings=settings | environment | {"OUTSOURCED_STORAGE": new_bucket()})
        yield deployment
        deployment.stop()


def test_large_file_goes_all_the_way_in_constant_memory(
    deployment: Deployment, tmp_path: Path, say: Say
) -> None:
    file, block = tmp_path / "large", os.urandom(MB)
    with file.open("wb") as target:
        for _ in range(SIZE):
            target.write(block)
    deployment.flask("init", f"http://127.0.0.1:{deployment.ports[0]}/outsourced")
    worker = deployment.add_worker("near", "-P", "threads", "-c", "1")
    # past the proxy of other tests, which keeps whole bodies in memory
    with producing(deployment, PRODUCER, str(file), past_proxy=True) as producer:
        (server,) = deployment.servers[0].children()
        memory = {
            "server": Memory(server.pid),
            "worker": Memory(worker.pid),
            "producer": Memory(producer.pid),
        }
        go_on(producer)
        job, size = heard(producer).split()
        grown = {name: round(one.grown(), 1) for name, one in memory.items()}
    say(f"{SIZE} MB up, down, up and down: grown by {grown} MB")
    assert deployment.state(UUID(job)) is State.COMPLETED
    assert int(size) == SIZE * MB
    assert max(grown.values()) < BOUND
