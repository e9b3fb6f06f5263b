"""A client with an account of its own, in a process of its own, that goes on when it is told to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.acceptance.deployment import QUEUE, Deployment

Producer = subprocess.Popen[str]


@contextmanager
def producing(
    deployment: Deployment, program: str, *words: str, past_proxy: bool = False
) -> Iterator[Producer]:
    """Runs the program with the client's file, the queue and these words, until it has said `ready`."""
    file = deployment.folder / "client.yml"
    deployment.flask("client", "create", "shop")
    deployment.flask("client", "allow", "shop", QUEUE)
    deployment.flask("client", "config", "-o", str(file), "shop")
    if past_proxy:
        proxy, server = str(deployment.proxy.port), str(deployment.ports[0])
        file.write_text(file.read_text().replace(proxy, server))
    command = [sys.executable, "-c", program, str(file), QUEUE, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as producer:
        try:
            assert heard(producer) == "ready"
            yield producer
        finally:
            producer.kill()


def heard(producer: Producer) -> str:
    """The next line it prints; empty once it has ended."""
    assert producer.stdout is not None
    return producer.stdout.readline().strip()


def go_on(producer: Producer) -> None:
    """Lets it do its next step."""
    assert producer.stdin is not None
    producer.stdin.write("\n")
    producer.stdin.flush()
