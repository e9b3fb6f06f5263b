"""The OAuth server: what it accepts, and the corpus of what it must not."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from flask import Flask
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from outsourced import errors
from outsourced.records import WorkerIdentity
from outsourced.server import access_token
from outsourced.server.services import Services
from outsourced.sql import workers
from tests.server.conftest import ADMIN, URL, Colleague

#: for what the database has no part in
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def require(host: Flask, token: str, *, fresh: bool = True) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    with host.test_request_context("/outsourced/", headers=headers):
        return host.extensions["outsourced"].require_worker(fresh=fresh)


def dated(claims: dict[str, Any]) -> dict[str, Any]:
    """The claims, with moments for distances from now: the names of tests are to be the same always."""
    return {
        name: int(time.time() + value.total_seconds()) if isinstance(value, timedelta) else value
        for name, value in claims.items()
    }


def forge(services: Services, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """An access token signed with the installation's own key, with these changes."""
    server = services.authorization_server
    now = int(time.time())
    claims = {
        "iss": URL,
        "aud": server.issuer.audience,
        "sub": "phill",
        "client_id": "phill",
        "scope": "worker",
        "jti": "one",
        "iat": now,
        "exp": now + 60,
        "epoch": 0,
        "account_id": 1,
    } | changes
    key = server.issuer.key
    head = {"alg": "ES256", "typ": "at+jwt", "kid": key.kid} | (header or {})
    head = {name: value for name, value in head.items() if value is not None}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(head, claims, key, default_type=None)


def encode(part: Any) -> str:
    text = part if isinstance(part, str) else json.dumps(part)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def test_token_endpoint_gives_short_lived_tokens(phill: Colleague, services: Services) -> None:
    answer = phill.ask(scope="worker")
    assert answer.status_code == 200
    assert answer.json["token_type"] == "Bearer"
    assert answer.json["expires_in"] == 600
    assert answer.headers["Cache-Control"] == "no-store"
    token = jwt.decode(answer.json["access_token"], services.authorization_server.issuer.key)
    assert token.header["typ"] == "at+jwt"
    assert token.claims["iss"] == URL
    assert token.claims["aud"] == phill.audience
    assert token.claims["sub"] == token.claims["client_id"] == "phill"
    assert token.claims["exp"] - token.claims["iat"] == 600


def test_require_worker_knows_the_sender(host: Flask, phill: Colleague) -> None:
    worker = require(host, phill.token())
    assert (worker.name, worker.epoch) == ("phill", 0)
    assert require(host, phill.token(), fresh=False) == worker


@on_sqlite
@pytest.mark.parametrize(
    "change",
    [
        {"aud": "https://jobs.example.com/outsourced/oauth/token"},
        {"aud": None},
        {"iss": "somebody"},
        {"iss": None},
        {"sub": "somebody"},
        {"sub": None},
        {"sub": ["phill"]},
        {"exp": timedelta(hours=-1)},
        {"exp": timedelta(days=7)},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": 1e400},
        {"nbf": timedelta(hours=1)},
        {"iat": timedelta(hours=1)},
        {"jti": None},
        {"jti": 17},
        {"jti": ""},
        {"jti": "x" * 201},
    ],
    ids=str,
)
def test_token_endpoint_refuses_claims(phill: Colleague, change: dict[str, Any]) -> None:
    answer = phill.ask(phill.assertion(**dated(change)))
    assert answer.status_code == 401
    assert answer.json["error"] == "invalid_client"
    assert "WWW-Authenticate" in answer.headers


@on_sqlite
def test_token_endpoint_allows_for_thirty_seconds_of_skew(phill: Colleague) -> None:
    assert phill.ask(phill.assertion(iat=int(time.time()) + 20)).status_code == 200


@on_sqlite
def test_token_endpoint_refuses_foreign_algorithms(phill: Colleague) -> None:
    head, body = encode({"alg": "none", "kid": phill.kid}), encode(phill.claims())
    assert phill.ask(f"{head}.{body}.").status_code == 401
    signed = f"{encode({'alg': 'HS256', 'kid': phill.kid})}.{body}"
    confused = hmac.digest(phill.key.as_pem(private=False), signed.encode(), "sha256")
    assert phill.ask(f"{signed}.{base64.urlsafe_b64encode(confused).decode().rstrip('=')}").status_code == 401
    rsa = jwt.encode({"alg": "RS256", "kid": phill.kid}, phill.claims(), RSAKey.generate_key(2048))
    assert phill.ask(rsa).status_code == 401


@on_sqlite
def test_token_endpoint_believes_no_key_in_the_header(phill: Colleague) -> None:
    own = ECKey.generate_key("P-256")
    for kid in (phill.kid, own.thumbprint(), "../../etc/passwd"):
        head = {"alg": "ES256", "kid": kid, "jwk": own.as_dict(private=False), "jku": "http://127.0.0.1:9/"}
        parts = jwt.encode(head, phill.claims(), own)
        assert phill.ask(parts).status_code == 401


@on_sqlite
def test_token_endpoint_requires_a_kid(phill: Colleague) -> None:
    anonymous = jwt.encode({"alg": "ES256"}, phill.claims(), phill.key)
    answer = phill.ask(anonymous)
    assert answer.status_code == 401
    assert "kid" in answer.json["error_description"]


def test_token_endpoint_refuses_a_used_assertion(phill: Colleague, enrol: Callable[[str], Colleague]) -> None:
    assertion = phill.assertion(jti="once")
    assert phill.ask(assertion).status_code == 200
    again = phill.ask(assertion)
    assert again.status_code == 401
    assert again.json["error_description"] == "The assertion was used before."
    assert enrol("other").ask(enrol("third").assertion(jti="once")).status_code == 200


@on_sqlite
@pytest.mark.parametrize("nested", ["[" * 500 + "]" * 500, "[" * 100_000, '{"a":' * 20_000, "1" * 5000])
@pytest.mark.parametrize("part", ["header", "payload"])
def test_token_endpoint_survives_json_bombs(phill: Colleague, nested: str, part: str) -> None:
    head = nested if part == "header" else encode({"alg": "ES256", "kid": phill.kid})
    assertion = f"{encode(nested) if part == 'header' else head}.{encode(nested)}.AAAA"
    answer = phill.ask(assertion)
    assert answer.status_code in (400, 401, 413)
    assert "Traceback" not in answer.text


@on_sqlite
@pytest.mark.parametrize("assertion", ["x", "a.b.c", "....", "é.é.é", "\x00", "a" * 40_000])
def test_token_endpoint_survives_garbage(phill: Colleague, assertion: str) -> None:
    assert phill.ask(assertion).status_code in (400, 401)


@on_sqlite
def test_token_endpoint_bounds_the_body(phill: Colleague) -> None:
    answer = phill.ask("a" * 100_000)
    assert answer.status_code == 413
    assert answer.json["code"] == "too_large"


def test_token_endpoint_treats_strangers_and_false_keys_alike(phill: Colleague) -> None:
    stranger = phill.ask(phill.assertion(iss="nobody", sub="nobody"))
    phill.key = ECKey.generate_key("P-256")
    forged = phill.ask()
    assert stranger.status_code == forged.status_code == 401
    assert stranger.data == forged.data


@on_sqlite
def test_token_endpoint_knows_one_grant_and_one_scope(phill: Colleague) -> None:
    assert phill.ask(grant_type="password").json["error"] == "unsupported_grant_type"
    assert phill.ask(scope="admin").json["error"] == "invalid_scope"
    secret = phill.post(
        "/outsourced/oauth/token",
        data={"grant_type": "client_credentials", "client_id": "phill", "client_secret": "x"},
    )
    assert secret.json["error"] == "invalid_client"


def test_locked_worker_is_told_so_once_it_has_proved_who_it_is(
    host: Flask, phill: Colleague, services: Services
) -> None:
    token = phill.token()
    workers.lock(services.backend, "phill", actor=ADMIN)
    answer = phill.ask()
    assert answer.status_code == 401
    assert answer.json["error"] == "invalid_client"
    assert answer.json["code"] == "worker_locked"
    with pytest.raises(errors.WorkerLocked):
        require(host, token)
    phill.key = ECKey.generate_key("P-256")
    assert "code" not in phill.ask().json


def test_revoked_key_ends_its_tokens_at_once(host: Flask, phill: Colleague, services: Services) -> None:
    token = phill.token()
    workers.revoke(services.backend, "phill", phill.kid, actor=ADMIN)
    assert phill.ask().status_code == 401
    with pytest.raises(errors.AuthenticationFailed, match="revoked"):
        require(host, token)


@on_sqlite
@pytest.mark.parametrize(
    ("header", "change"),
    [
        ({"typ": None}, {}),
        ({"typ": "JWT"}, {}),
        ({"kid": None}, {}),
        ({"kid": "other"}, {}),
        ({}, {"client_id": "other"}),
        ({}, {"client_id": None}),
        ({}, {"aud": "another installation"}),
        ({}, {"iss": "https://elsewhere.example.com"}),
        ({}, {"exp": timedelta(minutes=-1)}),
        ({}, {"exp": None}),
        ({}, {"iat": timedelta(hours=1)}),
        ({}, {"epoch": None}),
        ({}, {"account_id": None}),
        ({}, {"jti": None}),
    ],
    ids=str,
)
def test_require_worker_refuses_tokens(
    host: Flask, services: Services, phill: Colleague, header: dict[str, Any], change: dict[str, Any]
) -> None:
    assert require(host, forge(services), fresh=False).name == "phill"
    with pytest.raises(errors.AuthenticationFailed):
        require(host, forge(services, header, **dated(change)), fresh=False)


@on_sqlite
def test_require_worker_allows_for_thirty_seconds_of_skew(host: Flask, services: Services) -> None:
    assert require(host, forge(services, iat=int(time.time()) + 20), fresh=False).name == "phill"


@on_sqlite
def test_require_worker_refuses_another_scope(host: Flask, services: Services) -> None:
    with pytest.raises(errors.Forbidden):
        require(host, forge(services, scope="reader"), fresh=False)


@on_sqlite
def test_require_worker_refuses_tokens_of_others(host: Flask, services: Services, phill: Colleague) -> None:
    genuine = phill.token().split(".")
    stranger = jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": "x"}, {}, ECKey.generate_key("P-256"))
    unsigned = f"{encode({'alg': 'none', 'typ': 'at+jwt'})}.{genuine[1]}."
    bomb = f"{encode('[' * 50_000)}.{genuine[1]}.{genuine[2]}"
    for token in (stranger, unsigned, bomb, phill.assertion(), "x", "é", ".".join([*genuine[:2], "AAAA"])):
        with pytest.raises(errors.AuthenticationFailed):
            require(host, token, fresh=False)


@on_sqlite
def test_request_without_token_is_asked_for_one(host: Flask) -> None:
    with host.test_request_context("/outsourced/"), pytest.raises(errors.AuthenticationFailed):
        host.extensions["outsourced"].require_worker()
    with (
        host.test_request_context(f"/outsourced/?access_token={'x' * 20}"),
        pytest.raises(errors.AuthenticationFailed),
    ):
        host.extensions["outsourced"].require_worker()


def test_require_worker_refuses_the_token_of_a_worker_that_is_gone(host: Flask, services: Services) -> None:
    with pytest.raises(errors.AuthenticationFailed, match="no such account"):
        require(host, forge(services, account_id=99))


def test_revocation_ends_the_tokens_of_the_asker_only(
    host: Flask, phill: Colleague, enrol: Callable[[str], Colleague]
) -> None:
    other = enrol("other")
    mine, theirs = phill.token(), other.token()
    assert phill.ask(at="revoke", token=theirs).status_code == 400
    assert require(host, theirs).name == "other"
    assert phill.ask(at="revoke", token=mine).status_code == 200
    with pytest.raises(errors.AuthenticationFailed):
        require(host, mine)
    assert phill.ask(at="revoke", token="unknown").status_code == 200
    assert require(host, phill.token()).name == "phill"


def test_introspection_tells_a_worker_about_its_own_tokens(
    phill: Colleague, enrol: Callable[[str], Colleague], services: Services
) -> None:
    token = phill.token()
    told = phill.ask(at="introspect", token=token).json
    assert (told["active"], told["sub"], told["scope"]) == (True, "phill", "worker")
    assert enrol("other").ask(at="introspect", token=token).json == {"active": False}
    assert phill.ask(at="introspect", token="unknown").json == {"active": False}
    workers.lock(services.backend, "phill", actor=ADMIN)
    workers.unlock(services.backend, "phill", actor=ADMIN)
    assert phill.ask(at="introspect", token=token).json["active"]
    workers.add_credential(
        services.backend, "phill", ECKey.generate_key("P-256").as_dict(private=False), actor=ADMIN
    )
    workers.reset(services.backend, "phill", actor=ADMIN)
    assert phill.ask(at="introspect", token=token).status_code == 401


@on_sqlite
def test_metadata_is_at_both_places_and_valid(client: FlaskClient, services: Services) -> None:
    inside = client.get("/outsourced/.well-known/oauth-authorization-server").json
    outside = client.get("/.well-known/oauth-authorization-server/outsourced").json
    assert inside == outside
    AuthorizationServerMetadata(inside).validate()
    published: Any = client.get("/outsourced/oauth/jwks").json
    keys = KeySet.import_key_set(published)
    assert not keys.keys[0].is_private
    assert keys.keys[0].kid == services.authorization_server.issuer.key.kid


def test_verified_tokens_are_few_and_expire() -> None:
    cache = access_token.VerifiedTokens()
    identity = WorkerIdentity(id=1, name="phill", epoch=0)
    for number in range(access_token.CACHE_SIZE + 1):
        cache.put(number.to_bytes(4, "big"), identity, 100.0)
    assert cache.get((0).to_bytes(4, "big"), 1.0) is None
    newest = access_token.CACHE_SIZE.to_bytes(4, "big")
    assert cache.get(newest, 1.0) == identity
    assert cache.get(newest, 100.0) is None
    assert cache.get(newest, 1.0) is None


def test_changed_url_of_the_installation_takes_effect(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    from outsourced.sql import installation

    first = services.authorization_server
    monkeypatch.setattr("outsourced.server.services.ISSUER_LIFE", 0.0)
    assert services.authorization_server is first
    installation.initialise(services.database, url="https://new.example.com/jobs", signing_key=None)
    assert services.authorization_server.issuer.url == "https://new.example.com/jobs"
