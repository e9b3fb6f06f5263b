"""The transport against a server that misbehaves: tokens, clocks, redirects, proxies, broken connections."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from outsourced.errors import (
    AuthenticationFailed,
    BackendUnavailable,
    ConfigurationError,
    InvalidRequest,
    QueueBusy,
    WorkerLocked,
    WorkerTooOld,
)
from outsourced.http.token import KeyProof
from outsourced.http.transport import Transport, check_url
from tests.unit.standin import EMPTY_REPLY, Answer, StandIn, problem, served

KEY = ECKey.generate_key("P-256")
PEM = KEY.as_pem(private=True).decode()
AUDIENCE = "6ff5c6d9-4a5b-4a83-9c0e-9d4a5c7c1f11"


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with served(StandIn(public_key=KEY, audience=AUDIENCE)) as standin:
        yield standin


@pytest.fixture
def connect(standin: StandIn) -> Iterator[Callable[..., Transport]]:
    made: list[Transport] = []

    def connect(url: str | None = None, **options: Any) -> Transport:
        options = {"timeout": (2.0, 2.0)} | options
        key = options.pop("private_key", PEM)
        proof = KeyProof(key_id="kid-1", private_key=key, audience=AUDIENCE)
        transport = Transport(url or standin.url, client_id="site-42", proof=proof, **options)
        made.append(transport)
        return transport

    yield connect
    for transport in made:
        transport.close()


@pytest.fixture
def transport(connect: Callable[..., Transport]) -> Transport:
    return connect()


def ask(transport: Transport) -> bytes:
    return transport.exchange(b"{}", wait=0)


def test_exchange_fetches_its_token_when_it_is_first_needed(transport: Transport, standin: StandIn) -> None:
    assert not standin.seen
    assert ask(transport) == EMPTY_REPLY

    (call,) = standin.calls
    assert (call.method, call.path, call.body) == ("POST", "/outsourced/v1/leases", b"{}")
    assert call.headers["Authorization"] == "Bearer token-1"
    assert call.headers["Outsourced-Protocol"] == "1"
    assert call.headers["Content-Type"] == "application/json"
    assert call.headers["User-Agent"].startswith("outsourced")


def test_token_is_asked_for_with_an_assertion_of_one_use(transport: Transport, standin: StandIn) -> None:
    standin.token_life = 10  # shorter than the time before its end at which a token is renewed
    ask(transport)
    ask(transport)

    first, second = standin.assertions
    assert first["iss"] == first["sub"] == "site-42"
    assert first["aud"] == AUDIENCE
    assert first["kid"] == "kid-1"
    assert first["alg"] == "ES256"
    assert first["scope"] == "worker"
    assert first["exp"] - first["iat"] <= 300
    assert first["jti"] != second["jti"]


def test_exchange_uses_one_token_and_one_connection_for_many_requests(
    transport: Transport, standin: StandIn
) -> None:
    for _ in range(5):
        ask(transport)
    assert len(standin.assertions) == 1
    assert len({call.port for call in standin.seen}) == 1


def test_ten_threads_with_an_expired_token_make_one_token_call(
    transport: Transport, standin: StandIn
) -> None:
    standin.token_life, standin.token_delay = 10, 0.05
    ask(transport)
    standin.token_life = 600
    barrier = threading.Barrier(10)

    def exchange() -> bytes:
        barrier.wait()
        return ask(transport)

    with ThreadPoolExecutor(10) as pool:
        replies = [future.result() for future in [pool.submit(exchange) for _ in range(10)]]
    assert replies == [EMPTY_REPLY] * 10
    assert len(standin.assertions) == 2


def test_ten_threads_refused_make_one_token_call(transport: Transport, standin: StandIn) -> None:
    ask(transport)
    standin.void.add("Bearer token-1")
    barrier = threading.Barrier(10)

    def exchange() -> bytes:
        barrier.wait()
        return ask(transport)

    with ThreadPoolExecutor(10) as pool:
        replies = [future.result() for future in [pool.submit(exchange) for _ in range(10)]]
    assert replies == [EMPTY_REPLY] * 10
    assert len(standin.assertions) == 2


def test_exchange_sends_again_once_with_a_new_token(transport: Transport, standin: StandIn) -> None:
    standin.answers.append(problem(401, "invalid_token"))
    assert ask(transport) == EMPTY_REPLY
    assert [call.headers["Authorization"] for call in standin.calls] == ["Bearer token-1", "Bearer token-2"]
    assert [call.body for call in standin.calls] == [b"{}", b"{}"]


def test_exchange_gives_up_after_the_second_refusal(transport: Transport, standin: StandIn) -> None:
    standin.answers.extend([problem(401, "invalid_token")] * 2)
    with pytest.raises(AuthenticationFailed, match="the invalid_token problem"):
        ask(transport)
    assert len(standin.calls) == 2


def test_a_locked_worker_is_told_at_once(transport: Transport, standin: StandIn) -> None:
    standin.answers.append(problem(401, "worker_locked"))
    with pytest.raises(WorkerLocked):
        ask(transport)
    assert len(standin.calls) == len(standin.assertions) == 1


def test_a_locked_worker_is_told_at_the_token_endpoint_too(transport: Transport, standin: StandIn) -> None:
    standin.token_answers.append(
        Answer(
            401, b'{"error": "invalid_client", "code": "worker_locked", "error_description": "locked out"}'
        )
    )
    with pytest.raises(WorkerLocked, match="locked out"):
        ask(transport)
    assert ask(transport) == EMPTY_REPLY


def test_refused_credentials_are_an_authentication_failure(transport: Transport, standin: StandIn) -> None:
    standin.token_answers.append(
        Answer(401, b'{"error": "invalid_client", "error_description": "who are you"}')
    )
    with pytest.raises(AuthenticationFailed, match="no access token: who are you"):
        ask(transport)


@pytest.mark.parametrize("offset", [-7200, 7200])
def test_a_wrong_clock_is_corrected_with_one_warning(
    transport: Transport, standin: StandIn, caplog: pytest.LogCaptureFixture, offset: int
) -> None:
    standin.clock_offset, standin.token_life = offset, 10
    with caplog.at_level(logging.WARNING, "outsourced"):
        assert ask(transport) == EMPTY_REPLY
        assert ask(transport) == EMPTY_REPLY
    assert len(standin.assertions) == 3
    (record,) = caplog.records
    assert f"clock is {'+' if offset < 0 else '-'}7" in record.getMessage()


def test_refusals_come_as_the_errors_they_are(transport: Transport, standin: StandIn) -> None:
    standin.answers.append(problem(503, "queue_busy", queue="q", retry_after=2))
    with pytest.raises(QueueBusy) as caught:
        ask(transport)
    assert (caught.value.queue, caught.value.retry_after) == ("q", 2)

    standin.answers.append(problem(426, "worker_too_old"))
    with pytest.raises(WorkerTooOld):
        ask(transport)

    standin.answers.append(problem(422, "invalid_request", path="outcomes[3].kind"))
    with pytest.raises(InvalidRequest) as refused:
        ask(transport)
    assert refused.value.path == "outcomes[3].kind"


@pytest.mark.parametrize("at", ["answers", "token_answers"])
@pytest.mark.parametrize(
    "answer",
    [
        Answer(502, b"<h1>Bad Gateway</h1>", content_type="text/html"),
        Answer(200, b"<h1>Log in to the Wi-Fi</h1>", content_type="text/html"),
        Answer(401, b"", {"WWW-Authenticate": "Basic realm=gate"}, content_type="text/html"),
        Answer(drop=True),
        Answer(cut=5),
        Answer(302, b"", {"Location": "https://login.example.com/?next=x"}),
        Answer(200, b"not gzip", {"Content-Encoding": "gzip"}),
    ],
    ids=["502", "portal", "gate", "dropped", "cut", "login", "garbled"],
)
def test_whatever_lies_in_between_is_unavailability(
    transport: Transport, standin: StandIn, answer: Answer, at: str
) -> None:
    getattr(standin, at).append(answer)
    with pytest.raises(BackendUnavailable):
        ask(transport)
    assert ask(transport) == EMPTY_REPLY


def test_a_broken_connection_is_not_tried_again_here(transport: Transport, standin: StandIn) -> None:
    standin.answers.append(Answer(drop=True))
    with pytest.raises(BackendUnavailable, match="does not answer") as caught:
        ask(transport)
    assert caught.value.__cause__ is not None
    assert len(standin.calls) == 1


def test_a_slow_answer_is_unavailability(connect: Callable[..., Transport], standin: StandIn) -> None:
    release = threading.Event()
    standin.answers.append(Answer(until=release))
    transport = connect(timeout=(2.0, 0.1))
    with pytest.raises(BackendUnavailable, match="timed out"):
        transport.get("/v1/worker")
    release.set()


def test_a_parked_exchange_is_waited_for_longer(connect: Callable[..., Transport], standin: StandIn) -> None:
    transport = connect(timeout=(2.0, 0.1))
    release = threading.Event()
    standin.answers.append(Answer(until=release))
    timer = threading.Timer(0.3, release.set)
    timer.start()
    assert transport.exchange(b"{}", wait=0.2) == EMPTY_REPLY
    timer.join()


def test_an_absent_server_is_unavailability(connect: Callable[..., Transport], standin: StandIn) -> None:
    transport = connect("http://127.0.0.1:9/outsourced")
    with pytest.raises(BackendUnavailable, match=r"http://127\.0\.0\.1:9/outsourced does not answer"):
        ask(transport)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("at", ["answers", "token_answers"])
def test_redirects_are_refused_and_name_the_right_url(
    transport: Transport, standin: StandIn, status: int, at: str
) -> None:
    path = "/v1/leases" if at == "answers" else "/oauth/token"
    getattr(standin, at).append(
        Answer(status, b"", {"Location": f"https://jobs.example.com/outsourced{path}"})
    )
    seen = len(standin.seen)
    with pytest.raises(ConfigurationError, match=r"write `url: https://jobs\.example\.com/outsourced`"):
        ask(transport)
    assert len(standin.seen) - seen == (2 if at == "answers" else 1)


def test_the_token_does_not_follow_a_redirect(transport: Transport, standin: StandIn) -> None:
    with served(StandIn(public_key=KEY, audience=AUDIENCE)) as other:
        standin.answers.append(Answer(307, b"", {"Location": f"{other.url}/v1/leases"}))
        with pytest.raises(ConfigurationError, match="write `url:"):
            ask(transport)
        assert other.seen == []


def test_proxy_is_used_where_one_is_configured(connect: Callable[..., Transport], standin: StandIn) -> None:
    proxy = standin.url.removesuffix("/outsourced")
    transport = connect("http://127.0.0.1:9/outsourced", proxy=proxy)
    assert ask(transport) == EMPTY_REPLY
    assert standin.calls[0].path == "http://127.0.0.1:9/outsourced/v1/leases"


def test_proxy_is_taken_from_the_environment(
    connect: Callable[..., Transport], standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", standin.url.removesuffix("/outsourced"))
    monkeypatch.setenv("no_proxy", "")
    transport = connect("http://127.0.0.1:9/outsourced")
    assert ask(transport) == EMPTY_REPLY


def test_netrc_does_not_take_the_tokens_place(
    connect: Callable[..., Transport], standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    ask(connect())
    assert [seen.headers["Authorization"] for seen in standin.seen] == [None, "Bearer token-1"]


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://app.example.com/outsourced", "must be https"),
        ("app.example.com", "must be like"),
        ("ftp://app.example.com", "must be like"),
        ("https://", "must be like"),
        ("https://app.example.com/?a=1", "must be like"),
        ("https://me:secret@app.example.com/", "holds a login"),
        ("https://[::1", "is no address"),
    ],
)
def test_check_url_refuses_what_a_worker_must_not_use(url: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example.com/outsourced/",
        "http://localhost:5000/x",
        "http://127.0.0.1/",
        "http://[::1]:5000/outsourced",
    ],
)
def test_check_url_takes_https_and_loopback(url: str) -> None:
    assert check_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "private_key",
    [
        "",
        "no key",
        KEY.as_pem(private=False).decode(),
        ECKey.generate_key("P-384").as_pem().decode(),
        RSAKey.generate_key(2048).as_pem().decode(),
    ],
    ids=["empty", "text", "public", "P-384", "RSA"],
)
def test_transport_refuses_what_is_no_private_key(
    connect: Callable[..., Transport], private_key: str
) -> None:
    with pytest.raises(ConfigurationError, match="private_key"):
        connect(private_key=private_key)


def test_transport_refuses_a_ca_bundle_that_is_not_there(connect: Callable[..., Transport]) -> None:
    with pytest.raises(ConfigurationError, match="ca_bundle: there is no"):
        connect(ca_bundle="/nowhere/ca.pem")
