"""An HTTP proxy between workers and servers that can hold, cut or lose what passes.

Each request goes to the next server that answers, over a connection of its own, and the last byte of
it is held back until the `Watcher` has said what is to happen: until then no server can act on it. The
answer is likewise in our hands before the worker hears of it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from io import BufferedIOBase
from typing import Any

#: seconds a server has to answer, a parked poll included
PATIENCE = 60.0


class Verdict(Enum):
    """What becomes of a message."""

    PASS = "pass"
    CUT = "cut"  #: it ends here, and so does the worker's connection


class Cut(Exception):
    """The connection ends here."""


@dataclass(slots=True)
class Message:
    """A request or an answer: its bytes, and what they say."""

    head: bytes
    body: bytes

    @property
    def first_line(self) -> str:
        return self.head.partition(b"\r\n")[0].decode()

    @property
    def bytes(self) -> bytes:
        return self.head + self.body

    @property
    def json(self) -> dict[str, Any]:
        tree = json.loads(self.body) if self.body.startswith(b"{") else {}
        assert isinstance(tree, dict)
        return tree


@dataclass(slots=True)
class Passing:
    """An exchange on its way: what the worker said, to which server, and what that answered."""

    request: Message
    server: int  #: its place among the servers
    at: float = field(default_factory=time.monotonic)  #: when it came
    answer: Message | None = None
    said: dict[str, Any] = field(default_factory=dict)
    answered: dict[str, Any] = field(default_factory=dict)

    @property
    def is_exchange(self) -> bool:
        return "/v1/leases " in self.request.first_line

    @property
    def worker_pid(self) -> int:
        return int(self.said["instance"]["pid"])

    @property
    def status(self) -> int:
        assert self.answer is not None
        return int(self.answer.first_line.split()[1])


class Watcher:
    """Sees every exchange; lets all of them pass. Called in the thread of the worker's connection."""

    def on_request(self, passing: Passing) -> Verdict:
        """All but the last byte has reached the server."""
        return Verdict.PASS

    def on_answer(self, passing: Passing) -> Verdict:
        """The server has answered; the worker does not know it."""
        return Verdict.PASS

    def after_answer(self, passing: Passing) -> None:
        """The answer has been sent to the worker."""


class Proxy:
    """Listens on a free port of loopback and spreads requests over the servers that answer."""

    def __init__(self, servers: Sequence[int]) -> None:
        self._servers = servers
        self._next = itertools.count()
        self.watcher = Watcher()
        self.carried: list[Passing] = []  #: every exchange that has reached a server
        self.asked: list[str] = []  #: the first line of every request, exchange or not
        self._listener = _Listener(("127.0.0.1", 0), _Connection)
        self._listener.proxy = self
        self._thread = threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def port(self) -> int:
        return int(self._listener.server_address[1])

    @property
    def answered(self) -> list[Passing]:
        """The exchanges that a server has answered, whether or not the worker heard."""
        return [passing for passing in tuple(self.carried) if passing.answer is not None]

    def start(self) -> None:
        """Accepts connections from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Accepts no more; connections there are end with their workers."""
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()

    def carry(self, request: Message, worker: BufferedIOBase) -> None:
        """Takes one request to a server and its answer to the worker; raises Cut."""
        with self._connected() as (server, number):
            passing = Passing(request, number)
            self.asked.append(request.first_line)
            if passing.is_exchange:
                passing.said = request.json
            watcher = self.watcher if passing.is_exchange else Watcher()
            server.sendall(request.bytes[:-1])
            self._obey(watcher.on_request(passing))
            if passing.is_exchange:
                self.carried.append(passing)
            server.sendall(request.bytes[-1:])
            with server.makefile("rb") as reader:
                answer = read_message(reader)
        if answer is None:
            raise Cut
        passing.answered, passing.answer = answer.json, answer
        self._obey(watcher.on_answer(passing))
        worker.write(answer.bytes)
        worker.flush()
        watcher.after_answer(passing)

    @staticmethod
    def _obey(verdict: Verdict) -> None:
        if verdict is Verdict.CUT:
            raise Cut

    @contextmanager
    def _connected(self) -> Iterator[tuple[socket.socket, int]]:
        first = next(self._next)
        for offset in range(len(self._servers)):
            number = (first + offset) % len(self._servers)
            with contextlib.suppress(ConnectionRefusedError):
                server = socket.create_connection(("127.0.0.1", self._servers[number]), timeout=PATIENCE)
                with server:
                    yield server, number
                return
        raise Cut  # no server is up


def read_message(reader: BufferedIOBase) -> Message | None:
    """The next message of a stream; None at its end, and where it ends in the midst of one."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        line = reader.readline()
        if not line:
            return None
        head += line
    length = _length_of(bytes(head))
    body = reader.read(length)
    return Message(bytes(head), body) if len(body) == length else None


def _length_of(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        assert name != b"transfer-encoding", "bodies of unknown length are not spoken here"
        if name == b"content-length":
            return int(value)
    return 0


class _Listener(socketserver.ThreadingTCPServer):
    proxy: Proxy
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of connections that broke: breaking them is our business."""
        if not isinstance(sys.exc_info()[1], (OSError, Cut)):
            super().handle_error(request, client_address)


class _Connection(socketserver.StreamRequestHandler):
    """A worker's connection, kept alive from request to request until something is cut."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        assert isinstance(self.server, _Listener)
        while (request := read_message(self.rfile)) is not None:
            self.server.proxy.carry(request, self.wfile)
