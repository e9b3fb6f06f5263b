"""A large file on its whole way, in memory that does not grow with it: producer, server, worker, and back.

TEST_FILE_SIZE is in MB; with 1024 the whole takes a minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from outsourced.states import State
from tests.acceptance.conftest import Deploy, Say, needs_worker
from tests.acceptance.deployment import QUEUE, Deployment
from tests.acceptance.memory import Memory
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


@contextmanager
def producing(deployment: Deployment, file: Path) -> Iterator[subprocess.Popen[str]]:
    """A client with an account of its own, in a process of its own."""
    config = str(deployment.folder / "client.yml")
    deployment.flask("client", "create", "shop")
    deployment.flask("client", "allow", "shop", QUEUE)
    deployment.flask("client", "config", "-o", config, "shop")
    # the proxy of other tests keeps whole bodies in memory
    Path(config).write_text(
        Path(config).read_text().replace(str(deployment.proxy.port), str(deployment.ports[0]))
    )
    command = [sys.executable, "-c", PRODUCER, config, QUEUE, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as producer:
        try:
            assert line_of(producer) == "ready"
            yield producer
        finally:
            producer.kill()


def line_of(producer: subprocess.Popen[str]) -> str:
    """The next line it prints; empty once it has ended."""
    assert producer.stdout is not None
    return producer.stdout.readline().strip()


def go_on(producer: subprocess.Popen[str]) -> None:
    """Lets it do its next step."""
    assert producer.stdin is not None
    producer.stdin.write("\n")
    producer.stdin.flush()


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
    with producing(deployment, file) as producer:
        (server,) = deployment.servers[0].children()
        memory = {
            "server": Memory(server.pid),
            "worker": Memory(worker.pid),
            "producer": Memory(producer.pid),
        }
        go_on(producer)
        job, size = line_of(producer).split()
        grown = {name: round(one.grown(), 1) for name, one in memory.items()}
    say(f"{SIZE} MB up, down, up and down: grown by {grown} MB")
    assert deployment.state(UUID(job)) is State.COMPLETED
    assert int(size) == SIZE * MB
    assert max(grown.values()) < BOUND
