"""One server over HTTPS: requests with a good access token, and errors for all that is no success.

Never repeats a request on its own account, but for one: after a 401 `invalid_token`, with a new
token. A request that failed on the way is BackendUnavailable, and the caller knows whether to send
it again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from io import IOBase
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidProxyURL, InvalidSchema, InvalidURL, MissingSchema
from urllib3.exceptions import HTTPError

from outsourced.errors import (
    AuthenticationFailed,
    BackendUnavailable,
    ConfigurationError,
    OutsourcedError,
    WorkerLocked,
)
from outsourced.http.answers import error_of
from outsourced.http.token import WORKER_SCOPE, Proof, TokenSession
from outsourced.http.trouble import describe_trouble
from outsourced.wire.headers import OVERRIDE_HEADER, PROTOCOL, PROTOCOL_HEADER

#: seconds to connect, and to wait for bytes
TIMEOUT = (5.0, 60.0)
#: seconds a parked request is given beyond what it asked to be parked for
GRACE = 30.0
#: idle connections kept: one parks, one settles, the others carry files
CONNECTIONS = 10
#: bytes of a file received at a time: as many may be lost where a connection breaks
CHUNK = 64 * 1024

_WRONG_ADDRESS = (InvalidURL, InvalidSchema, MissingSchema, InvalidProxyURL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A file on its way to us."""

    start: int  #: the place in the file of the first byte that comes
    tag: str | None  #: what to name the file by when asking for the rest
    chunks: Iterator[bytes]


class Transport:
    """Requests to one server, as one account. Safe to use from several threads."""

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        proof: Proof,
        scope: str = WORKER_SCOPE,
        ca_bundle: str | Path | None = None,
        proxy: str | None = None,
        method_override: bool = False,
        timeout: tuple[float, float] = TIMEOUT,
    ) -> None:
        self.url = check_url(url)
        self._timeout = timeout
        self._method_override = method_override
        self._session = TokenSession(
            self.url,
            client_id=client_id,
            proof=proof,
            scope=scope,
            timeout=timeout,
        )
        self._configure(proxy=proxy, ca_bundle=ca_bundle)
        self._exchange = self._prepare(
            "POST", "/v1/leases", headers={"Content-Type": "application/json", "Accept": "application/json"}
        )

    def _configure(self, *, proxy: str | None, ca_bundle: str | Path | None) -> None:
        session = self._session
        if ca_bundle is not None and not Path(ca_bundle).exists():
            raise ConfigurationError(f"ca_bundle: there is no {ca_bundle}")
        # requests would look through the environment at every request, and put ~/.netrc in our token's place
        settings = session.merge_environment_settings(self.url, {}, None, None, None)
        session.trust_env = False
        session.proxies = {"http": proxy, "https": proxy} if proxy else settings["proxies"]
        session.verify = settings["verify"] if ca_bundle is None else str(ca_bundle)
        session.headers.update({"User-Agent": user_agent(), PROTOCOL_HEADER: PROTOCOL})
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(pool_connections=2, pool_maxsize=CONNECTIONS, max_retries=0))

    @property
    def clock_skew(self) -> float:
        """Seconds the server's clock is ahead of ours, as far as that had to be allowed for."""
        return self._session.skew

    def exchange(self, body: bytes, *, wait: float) -> bytes:
        """Posts an exchange that may be parked for `wait` seconds; gives the reply's JSON."""
        # prepared once: preparing costs as much as sending
        request = self._exchange.copy()
        request.body = body
        request.headers["Content-Length"] = str(len(body))
        answer = self._send(request, read_timeout=max(self._timeout[1], wait + GRACE))
        return self._json(answer)

    def get(self, path: str, *, wait: float = 0.0) -> bytes:
        """The JSON at a path, which may take `wait` seconds longer than usual."""
        request = self._prepare("GET", path, headers={"Accept": "application/json"})
        return self._json(self._send(request, read_timeout=wait + GRACE if wait else None))

    def post(self, path: str, body: bytes | BinaryIO, *, headers: Mapping[str, str]) -> bytes:
        """Posts bytes, or a seekable file with a length; gives the answer's JSON."""
        request = self._prepare("POST", path, headers={"Accept": "application/json", **headers})
        request.prepare_body(body, files=None)
        return self._json(self._send(request))

    @contextmanager
    def download(self, path: str, *, start: int = 0, tag: str | None = None) -> Iterator[Incoming]:
        """The bytes at a path, in chunks; a connection that breaks on the way is BackendUnavailable.

        From `start` on, if it still is the file with this entity tag; else from its beginning.
        """
        headers = {"Accept-Encoding": "identity"}
        if start and tag is not None:
            headers |= {"Range": f"bytes={start}-", "If-Range": tag}
        request = self._prepare("GET", path, headers=headers)
        with self._send(request, stream=True) as answer:
            begins = self._beginning(answer, asked=start)
            yield Incoming(start=begins, tag=_strong_tag(answer), chunks=self._chunks(answer))

    def upload(self, path: str, source: BinaryIO, *, size: int, headers: Mapping[str, str]) -> bytes:
        """Puts a seekable file of `size` bytes; gives the answer's JSON."""
        method = "PUT"
        headers = dict(headers)
        if self._method_override:
            method, headers[OVERRIDE_HEADER] = "POST", "PUT"
        request = self._prepare(method, path, headers=headers)
        request.prepare_body(source if size else b"", files=None)  # an empty file would go out chunked
        return self._json(self._send(request))

    def close(self) -> None:
        """Ends idle connections."""
        self._session.close()

    def _prepare(self, method: str, path: str, *, headers: Mapping[str, str]) -> requests.PreparedRequest:
        # authlib's session would sign it now; ours are signed when they are sent
        request = requests.Request(method, self.url + path, headers={**self._session.headers, **headers})
        try:
            return request.prepare()
        except _WRONG_ADDRESS as error:
            raise ConfigurationError(f"url: {self.url!r} is no address: {error}") from error

    def _send(
        self,
        request: requests.PreparedRequest,
        *,
        read_timeout: float | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """The successful answer; raises the error that any other answer, or none, stands for."""
        timeout = (self._timeout[0], read_timeout or self._timeout[1])
        answer = self._attempt(request, timeout=timeout, stream=stream)
        if answer.status_code < 300:
            return answer
        error = self._error(answer)
        if not _is_stale_token(error):
            raise error
        self._renew(request.headers["Authorization"].removeprefix("Bearer "))
        answer = self._attempt(request, timeout=timeout, stream=stream)
        if answer.status_code < 300:
            return answer
        raise self._error(answer)

    def _attempt(
        self, request: requests.PreparedRequest, *, timeout: tuple[float, float], stream: bool
    ) -> requests.Response:
        with self._unavailable_on_failure():
            body: object = request.body
            if isinstance(body, IOBase):
                body.seek(0)
            signed: requests.PreparedRequest = self._session.token_auth(request)
            answer: requests.Response = self._session.send(
                signed,
                timeout=timeout,
                stream=stream,
                allow_redirects=False,
                proxies=self._session.proxies,
                verify=self._session.verify,
            )
            return answer

    def _renew(self, stale: str) -> None:
        with self._unavailable_on_failure():
            self._session.renew(stale)

    @contextmanager
    def _unavailable_on_failure(self) -> Iterator[None]:
        """Turns what requests raises into our errors, with its own as the cause."""
        try:
            yield
        except _WRONG_ADDRESS as error:
            raise ConfigurationError(f"{self.url} cannot be asked: {error}") from error
        except (requests.RequestException, HTTPError) as error:
            raise BackendUnavailable(describe_trouble(error, url=self.url), url=self.url) from error

    def _error(self, answer: requests.Response) -> OutsourcedError:
        with self._unavailable_on_failure(), answer:
            return error_of(answer, base=self.url)

    def _json(self, answer: requests.Response) -> bytes:
        kind = answer.headers.get("Content-Type", "")
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise self._error(answer)
        return bytes(answer.content)

    def _beginning(self, answer: requests.Response, *, asked: int) -> int:
        """The place in the file at which the answer begins."""
        if answer.status_code != HTTPStatus.PARTIAL_CONTENT:
            return 0
        given = answer.headers.get("Content-Range", "nothing")
        if not given.startswith(f"bytes {asked}-"):
            raise BackendUnavailable(
                f"{self.url} was asked for bytes {asked}- and answers {given}", url=self.url
            )
        return asked

    def _chunks(self, answer: requests.Response) -> Iterator[bytes]:
        with self._unavailable_on_failure():
            yield from answer.iter_content(CHUNK)


def _strong_tag(answer: requests.Response) -> str | None:
    tag = answer.headers.get("ETag")
    return tag if tag is not None and tag.startswith('"') else None


def _is_stale_token(error: OutsourcedError) -> bool:
    return isinstance(error, AuthenticationFailed) and not isinstance(error, WorkerLocked)


def check_url(url: str) -> str:
    """The address without a slash at its end; raises ConfigurationError, also for http off loopback."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise ConfigurationError(f"url: {url!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ConfigurationError(f"url: {url!r} must be like https://app.example.com/outsourced")
    if parts.username or parts.password:
        raise ConfigurationError("url: holds a login; a worker proves who it is by its key")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ConfigurationError(f"url: {url!r} must be https: tokens and jobs would travel in the clear")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def user_agent() -> str:
    """How we introduce ourselves to the server's log."""
    try:
        return f"outsourced/{version('outsourced')}"
    except PackageNotFoundError:
        return "outsourced"
