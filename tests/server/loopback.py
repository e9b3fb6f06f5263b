"""The host app behind a real server on loopback, and workers that speak to it with the shipped client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from outsourced.http.backend import HttpConsumer
from outsourced.http.token import KeyProof
from outsourced.http.transport import Transport
from outsourced.payload import encode_call
from outsourced.records import ExchangeRequest, Instance, NewFile, NewJob
from outsourced.server.services import Services

if TYPE_CHECKING:
    from tests.server.conftest import Colleague

#: for tests in which the dialect plays no part
on_one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """The URL of our blueprint in an app served by threads."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    server.daemon_threads = True  # type: ignore[attr-defined]
    server.block_on_close = False  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/outsourced"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class RemoteWorker:
    """A colleague at work over HTTP, with the client we ship."""

    def __init__(self, colleague: Colleague, url: str, **options: bool) -> None:
        self.transport = Transport(
            url,
            client_id=colleague.name,
            proof=KeyProof(
                key_id=colleague.kid,
                private_key=colleague.key.as_pem(private=True).decode(),
                audience=colleague.audience,
            ),
            timeout=(5.0, 10.0),
            **options,  # type: ignore[arg-type]
        )
        self.consumer = HttpConsumer(self.transport, pauses=())
        self.instance = Instance(id=uuid4(), host="site", pid=1, version="0.1.0")

    def request(self, *, slots: int = 0, wait: float = 0.0, **said: object) -> ExchangeRequest:
        return ExchangeRequest(
            instance=self.instance,
            claim_id=uuid4() if slots else None,
            slots=slots,
            wait=wait,
            tasks=("t",),
            **said,  # type: ignore[arg-type]
        )


def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread is about to do."""
    moment = threading.Event()
    for _ in range(1000):
        if condition():
            return
        moment.wait(0.005)
    raise AssertionError("it did not come to pass")


def enqueue(services: Services, *args: object, queue: str = "q", attachment: NewFile | None = None) -> UUID:
    """One job of the task `t`."""
    job = NewJob(id=uuid4(), task="t", payload=encode_call(args, {}), queue=queue, attachment=attachment)
    services.backend.enqueue([job])
    return job.id
