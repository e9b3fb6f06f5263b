"""Where the services of the peers are; told by the runner, so that nothing of anybody else is touched."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

REDIS = os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379/11")
RABBITMQ = os.environ.get("BENCH_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//")
POSTGRESQL = os.environ.get("BENCH_POSTGRESQL", "")
QUEUE = os.environ.get("BENCH_QUEUE", "outsourced-bench")


class Unavailable(Exception):
    """A peer cannot run here; the message says why."""


def require_answer(url: str) -> None:
    """Raises Unavailable unless something listens at the URL's host and port."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=2).close()
    except OSError as error:
        raise Unavailable(f"{parts.scheme} does not answer at {parts.hostname}:{parts.port}") from error
