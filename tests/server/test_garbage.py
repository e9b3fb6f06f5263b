"""Garbage at every URL: a 4xx that says what is wrong, nothing lost and no bug logged."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from flask import Flask
from werkzeug.routing import Rule

import outsourced
from outsourced.records import Lease
from outsourced.server.services import Services
from outsourced.sql import clients
from outsourced.states import State
from tests.server.conftest import ADMIN
from tests.server.loopback import RemoteWorker, enqueue, on_one_database

BODIES = {
    "none": b"",
    "broken": b"{",
    "NaN": b'{"slots": NaN}',
    "nested": b"[" * 100_000 + b"]" * 100_000,
    "nested members": b'{"a":' * 100_000,
    "nested where any JSON may be": b'{"group": ' + b"[" * 500 + b"]" * 500 + b"}",
    "list": b"[]",
    "text": b'"text"',
    "infinite": b'{"wait": 1e400}',
    "endless number": b'{"slots": ' + b"9" * 5000 + b"}",
    "surrogate": b'{"claim_id": "\\ud800"}',
    "NUL": b'{"task": "\\u0000", "queue": "\\u0000", "args": [], "instance": {"id": "\\u0000"}}',
    "UTF-16": '{"slots": 1}'.encode("utf-16"),
    "twice": b'{"slots": 1, "slots": 2}',
    "bytes": bytes(range(256)),
}
TYPES = (
    "application/json",
    "application/json; charset=utf-7",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "",
)
QUERIES = ("", "?wait=NaN&cursor=%00&limit=-1&state=%FF&queue=%00&owner=%ED%A0%80")
SECRET = "a secret of 43 characters, as the CLI makes"


def rules() -> list[Any]:
    """Every rule of the blueprint with every method, but for those that are somebody else's."""
    outsourced.bp  # noqa: B018 - the app below has its rules
    app = Flask("rules")
    app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
    found = [
        (method, rule)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/outsourced")
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"})
    ]
    return [pytest.param(method, rule, id=f"{method} {rule.rule}") for method, rule in found]


def path_of(rule: Rule, lease: Lease) -> str:
    places = {
        "lease_id": lease.id,
        "job_id": lease.job_id,
        "group_id": lease.job_id,
        "name": "%E2%80%AEa%22%0Ab",
        "path": "no/where",
        "owner_type": "%00",
        "owner_id": "%E2%80%AEa/%22%09b",
    }
    path = rule.rule.removeprefix("/outsourced")
    for converter in ("uuid:", "path:"):
        path = path.replace(f"<{converter}", "<")
    for name, value in places.items():
        path = path.replace(f"<{name}>", str(value))
    assert "<" not in path, "a new part of a URL: give it a place"
    return path


@pytest.fixture
def lease(worker: RemoteWorker, services: Services) -> Lease:
    """A job in a worker's hands."""
    enqueue(services)
    (lease,) = worker.consumer.exchange(worker.request(slots=1)).leases
    return lease


@pytest.fixture
def tokens(lease: Lease, worker: RemoteWorker, services: Services, url: str) -> dict[str, str]:
    """Tokens that are good: garbage is to get past the door."""
    clients.create(services.backend, "shop", actor=ADMIN)
    clients.add_secret(services.backend, "shop", SECRET, actor=ADMIN)
    clients.allow(services.backend, "shop", "q", actor=ADMIN)
    form = {"grant_type": "client_credentials"}
    answer = requests.post(f"{url}/oauth/token", form, auth=("shop", SECRET), timeout=20)
    return {
        "worker": worker.transport._session.token["access_token"],
        "client": answer.json()["access_token"],
    }


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@on_one_database
@pytest.mark.parametrize(("method", "rule"), rules())
def test_garbage_is_refused_and_said_to_be(
    method: str,
    rule: Rule,
    url: str,
    lease: Lease,
    tokens: dict[str, str],
    services: Services,
    http: requests.Session,
    caplog: pytest.LogCaptureFixture,
) -> None:
    services.janitor.tick()  # or health is red, which is a 503
    token = tokens["client" if "/v1/jobs" in rule.rule or "/v1/owners" in rule.rule else "worker"]
    bodies = BODIES if method in {"POST", "PUT", "PATCH"} else {"none": b""}
    types = TYPES if len(bodies) > 1 else ("",)
    for (name, body), content_type, query in itertools.product(bodies.items(), types, QUERIES):
        answer = http.request(
            method,
            url + path_of(rule, lease) + query,
            data=body,
            headers={
                "Authorization": f"Bearer {token}",
                "Outsourced-Protocol": "1",
                "Content-Type": content_type,
                "Repr-Digest": "sha-256=:YQ==:",
                "Idempotency-Key": '"a"',
                "Range": "bytes=9-1,x",
            },
            timeout=20,
        )
        told = f"{method} {rule.rule} {name} {content_type} {query}: {answer.status_code} {answer.text[:300]}"
        assert answer.status_code < 500, told
        assert "Traceback" not in answer.text, told
        assert answer.status_code not in {401, 403} or "/v1/" not in rule.rule, told
        if answer.status_code >= 400:
            tree = answer.json()
            assert tree.get("detail") or tree.get("error"), told
    assert not [record for record in caplog.records if record.exc_info]
    job = services.backend.job(lease.job_id)
    assert job is not None
    assert job.state is State.ASSIGNED
    assert len(services.backend.jobs()) == 1


@on_one_database
@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x.y.z",
        "Basic Og==",
        "Bearer " + "x" * 60_000,
        "Bearer \xff",
        "Digest a",
    ],
    ids=["none", "empty", "blank", "no token", "basic", "long", "latin", "digest"],
)
def test_garbage_for_credentials_is_401_that_asks_for_a_token(
    authorization: str, url: str, worker: RemoteWorker, http: requests.Session
) -> None:
    for method, path in (("POST", "/v1/leases"), ("GET", "/v1/worker"), ("POST", "/v1/jobs")):
        answer = http.request(
            method,
            url + path,
            data=b"{}",
            headers={
                "Content-Type": "application/json",
                "Outsourced-Protocol": "1",
                "Authorization": authorization,
            },
            timeout=20,
        )
        assert answer.status_code in {401, 431}, (method, path, answer.status_code, answer.text)
        if answer.status_code == 401:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert answer.json()["code"] == "invalid_token"
