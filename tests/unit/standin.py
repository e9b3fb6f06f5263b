"""A small HTTP server that answers as a test tells it to: well, badly, late, or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import ECKey

EMPTY_REPLY = b'{"leases":[],"settled":[],"commands":[]}'


@dataclass
class Answer:
    """What to send back; `drop` closes the connection instead, `cut` after so many bytes of the body."""

    status: int = 200
    body: bytes = EMPTY_REPLY
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    drop: bool = False
    cut: int | None = None
    until: threading.Event | None = None  #: waits for it first


def problem(status: int, code: str, **facts: Any) -> Answer:
    body = json.dumps({"code": code, "detail": f"the {code} problem", "status": status} | facts).encode()
    return Answer(status, body, content_type="application/problem+json")


@dataclass
class Seen:
    """A request that arrived."""

    method: str
    path: str
    headers: Any
    body: bytes
    port: int


@dataclass
class StandIn:
    """Gives tokens named token-1, token-2, … and else the answers queued, then empty replies."""

    public_key: ECKey
    audience: str
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    assertions: list[dict[str, Any]] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)
    token_answers: deque[Answer] = field(default_factory=deque)
    void: set[str] = field(default_factory=set)  #: values of Authorization that are refused
    token_life: int = 600
    token_delay: float = 0.0
    clock_offset: float = 0.0  #: seconds this server is ahead
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def calls(self) -> list[Seen]:
        """What was asked, tokens aside."""
        return [seen for seen in self.seen if not seen.path.endswith("/oauth/token")]

    def answer(self, seen: Seen) -> Answer:
        with self._lock:
            self.seen.append(seen)
            if seen.path.endswith("/oauth/token"):
                return self.token_answers.popleft() if self.token_answers else self._token(seen)
            if seen.headers["Authorization"] in self.void:
                return problem(401, "invalid_token")
            return self.answers.popleft() if self.answers else Answer()

    def _token(self, seen: Seen) -> Answer:
        form = {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}
        token = jwt.decode(form["client_assertion"], self.public_key, algorithms=["ES256"])
        self.assertions.append(token.header | token.claims | {"scope": form["scope"]})
        now = time.time() + self.clock_offset
        if not token.claims["iat"] - 30 <= now <= token.claims["exp"] + 30:
            return Answer(401, b'{"error": "invalid_client", "error_description": "expired"}')
        time.sleep(self.token_delay)
        name = f"token-{len(self.assertions)}"
        answer = {"access_token": name, "token_type": "Bearer", "expires_in": self.token_life}
        return Answer(body=json.dumps(answer).encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    standin: ClassVar[StandIn]

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = Seen(self.command, self.path, self.headers, body, self.client_address[1])
        answer = self.standin.answer(seen)
        if answer.until is not None:
            answer.until.wait(10)
        if answer.drop:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        self.send_header("Date", formatdate(time.time() + self.standin.clock_offset, usegmt=True))
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):  # a client that lost patience
            self.wfile.write(answer.body[: answer.cut])
        self.close_connection = self.close_connection or answer.cut is not None

    do_GET = do_POST = do_PUT = _serve

    def log_message(self, *args: Any) -> None:
        """Says nothing: the tests look at `seen`."""


@contextmanager
def served(standin: StandIn) -> Iterator[StandIn]:
    """The stand-in, listening on loopback."""
    handler: Callable[..., Any] = type("Handler", (_Handler,), {"standin": standin})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)  # type: ignore[arg-type]
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    standin.url = f"http://127.0.0.1:{server.server_address[1]}/outsourced"
    try:
        yield standin
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
