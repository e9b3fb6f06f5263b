"""The suite over HTTP: the client and the worker's side that we ship, against a real server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from outsourced.backend import Consumer
from outsourced.errors import QueueForbidden
from outsourced.http.backend import HttpConsumer
from outsourced.http.producer import HttpProducer
from outsourced.http.token import CLIENT_SCOPE, KeyProof, Proof, SecretProof
from outsourced.http.transport import Transport
from outsourced.server import signing
from outsourced.server.services import Services
from outsourced.sql import clients, installation, workers
from tests.backends.sql_stage import SqlStage
from tests.backends.stage import ADMIN, OWNER_LIMITS, staff
from tests.backends.suite import *  # noqa: F403
from tests.server.conftest import SECRET, URL, make_app, services_of
from tests.server.loopback import served

CLIENT_SECRET = "a secret of 43 characters, as the CLI makes"


class HttpStage(SqlStage):
    """The server's own verbs for people; producer and workers are elsewhere.

    What an owner has is asked at the server: it is the server that shows it.
    """

    actor = "client:shop"
    refuses_unknown_queues = QueueForbidden

    def __init__(self, services: Services, url: str) -> None:
        super().__init__(services.backend)
        self._services, self._url = services, url
        self._transports: list[Transport] = []
        clients.create(self._backend, "shop", actor=ADMIN)
        clients.add_secret(self._backend, "shop", CLIENT_SECRET, actor=ADMIN)
        clients.allow(self._backend, "shop", "plain", actor=ADMIN)
        proof = SecretProof(secret=CLIENT_SECRET)
        self.producer = HttpProducer(self._connect("shop", proof, scope=CLIENT_SCOPE), "/v1/jobs")

    def create_queue(self, name: str, capacity: int | None = None) -> None:
        super().create_queue(name, capacity)
        if name != "plain":  # which is there before the client is
            clients.allow(self._backend, "shop", name, actor=ADMIN)

    def consumer(self, worker: str) -> Consumer:
        key = ECKey.generate_key("P-256")
        kid = workers.add_credential(self._backend, worker, key.as_dict(private=False), actor=ADMIN)
        proof = KeyProof(
            key_id=kid,
            private_key=key.as_pem(private=True).decode(),
            audience=str(installation.read(self._services.database).uuid),
        )
        return HttpConsumer(self._connect(worker, proof), pauses=())

    def _connect(self, account: str, proof: Proof, **options: str) -> Transport:
        transport = Transport(self._url, client_id=account, proof=proof, timeout=(5.0, 10.0), **options)  # type: ignore[arg-type]
        self._transports.append(transport)
        return transport

    def close(self) -> None:
        """Ends the connections."""
        for transport in self._transports:
            transport.close()


@pytest.fixture
def stage(sqlite_url: str, tmp_path: Path) -> Iterator[HttpStage]:
    app = make_app(tmp_path, sqlite_url, OUTSOURCED_OWNER_LIMITS=OWNER_LIMITS)
    services = services_of(app)
    installation.initialise(services.database, url=URL, signing_key=signing.new_signing_key(SECRET))
    with served(app) as url:
        stage = HttpStage(services, url)
        staff(stage)
        yield stage
        stage.close()
    services.stop()
