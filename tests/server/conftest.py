"""A host app with the blueprint, on a database of its own, and workers that can prove who they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import ECKey

import outsourced
from outsourced.server import signing
from outsourced.server.services import Services
from outsourced.sql import installation, queues, workers
from tests.server.loopback import RemoteWorker, served

ADMIN = "admin:test"
URL = "https://jobs.example.com/outsourced"
SECRET = "a secret of the host"


def make_app(folder: Path, database_url: str, **config: Any) -> Flask:
    """A host app with our blueprint, set up as `init` does it."""
    app = Flask("host", instance_path=str(folder / "instance"))
    app.config.update(TESTING=True, SECRET_KEY=SECRET, OUTSOURCED_DATABASE_URL=database_url, **config)
    app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
    return app


@pytest.fixture
def host(tmp_path: Path, database_url: str) -> Iterator[Flask]:
    app = make_app(tmp_path, database_url)
    services = services_of(app)
    installation.initialise(services.database, url=URL, signing_key=signing.new_signing_key(SECRET))
    yield app
    services.stop()


def services_of(app: Flask) -> Services:
    services: Services = app.extensions["outsourced"]
    return services


@pytest.fixture
def services(host: Flask) -> Services:
    return services_of(host)


@pytest.fixture
def client(host: Flask) -> FlaskClient:
    return host.test_client()


@dataclass
class Colleague:
    """A worker, as seen from its own side: a name, a key, and the audience it was told."""

    name: str
    key: ECKey
    kid: str
    audience: str
    post: Callable[..., Any]

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.name,
            "sub": self.name,
            "aud": self.audience,
            "jti": uuid4().hex,
            "iat": now,
            "exp": now + 60,
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def assertion(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        return jwt.encode(
            {"alg": "ES256", "kid": self.kid} | (header or {}), self.claims(**changes), self.key
        )

    def ask(self, assertion: str | None = None, *, at: str = "token", **form: str) -> Any:
        """The answer of an OAuth endpoint to this assertion, by default a good one."""
        body = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion or self.assertion(),
        }
        return self.post(f"/outsourced/oauth/{at}", data=body | form)

    def token(self) -> str:
        answer = self.ask()
        assert answer.status_code == 200, answer.text
        token: str = answer.json["access_token"]
        return token


@pytest.fixture
def enrol(services: Services, client: FlaskClient) -> Callable[[str], Colleague]:
    """Makes a worker with a fresh key."""

    def enrol(name: str) -> Colleague:
        key = ECKey.generate_key("P-256")
        workers.create(services.backend, name, actor=ADMIN)
        kid = workers.add_credential(services.backend, name, key.as_dict(private=False), actor=ADMIN)
        audience = str(installation.read(services.database).uuid)
        return Colleague(name=name, key=key, kid=kid, audience=audience, post=client.post)

    return enrol


@pytest.fixture
def phill(enrol: Callable[[str], Colleague]) -> Colleague:
    return enrol("phill")


@pytest.fixture
def url(host: Flask) -> Iterator[str]:
    """The address of our blueprint in the host app, served by threads."""
    with served(host) as url:
        yield url


@pytest.fixture
def worker(services: Services, phill: Colleague, url: str) -> Iterator[RemoteWorker]:
    """Phill at work over HTTP, hired for the queue `q`."""
    queues.create(services.backend, "q", actor=ADMIN)
    workers.hire(services.backend, phill.name, "q", actor=ADMIN)
    worker = RemoteWorker(phill, url)
    yield worker
    worker.consumer.close()
