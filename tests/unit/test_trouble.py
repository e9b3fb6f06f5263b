"""Troubles on the way, as they really come up on loopback, in words that say what to look at."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from outsourced.http.trouble import describe_trouble
from tests.certificates import certify


@pytest.fixture
def plain() -> Iterator[int]:
    """The port of a server that answers everything with a refusal, and speaks no TLS."""
    yield from _serving(None)


def _serving(context: ssl.SSLContext | None) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with suppress(OSError), connection:
                        if context is not None:
                            connection = context.wrap_socket(connection, server_side=True)
                        connection.recv(1000)
                        connection.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def trouble(url: str, *, proxy: str | None = None, ca: Path | None = None) -> str:
    """What is said of this address."""
    proxies = {"https": proxy, "http": proxy} if proxy else {}
    with requests.Session() as session:
        session.trust_env = False
        with pytest.raises(requests.RequestException) as caught:
            session.get(url, timeout=5, proxies=proxies, verify=str(ca) if ca else True)
    return describe_trouble(caught.value, url=url)


def test_unknown_host_is_a_matter_of_spelling_or_dns() -> None:
    assert "no host jobs.invalid is known here" in trouble("https://jobs.invalid/outsourced")


def test_nobody_at_the_port_is_said() -> None:
    assert "nothing listens at that port" in trouble("http://127.0.0.1:9/outsourced")


def test_http_where_tls_was_expected_is_said(plain: int) -> None:
    assert "speaks no TLS we know there" in trouble(f"https://127.0.0.1:{plain}/")


def test_proxy_that_is_not_there_is_named_as_the_trouble() -> None:
    said = trouble("https://jobs.example.com/", proxy="http://127.0.0.1:9")
    assert "the proxy (`proxy:`" in said
    assert "refused" in said


def test_proxy_that_asks_for_a_login_says_how_to_write_it(plain: int) -> None:
    said = trouble("https://jobs.example.com/", proxy=f"http://127.0.0.1:{plain}")
    assert "http://user:password@host:port" in said


@pytest.mark.parametrize(
    ("names", "age", "known", "words"),
    [
        (["127.0.0.1"], timedelta(0), False, "name its file as `ca_bundle:`"),
        (["127.0.0.1"], timedelta(days=3), True, "this machine's clock is wrong: it says"),
        (["127.0.0.1"], timedelta(days=-3), True, "this machine's clock is wrong: it says"),
        (["127.0.0.2"], timedelta(0), True, "its certificate is for another host"),
    ],
    ids=["unknown authority", "expired", "not yet valid", "another host"],
)
def test_certificate_that_is_not_trusted_says_why(
    tmp_path: Path, names: list[str], age: timedelta, known: bool, words: str
) -> None:
    files = certify(tmp_path, names, age=age)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    serving = _serving(context)
    port = next(serving)
    try:
        assert words in trouble(f"https://127.0.0.1:{port}/", ca=files.authority if known else None)
    finally:
        serving.close()
