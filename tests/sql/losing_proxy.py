"""A TCP proxy before PostgreSQL that loses the answer to a COMMIT after it was committed.

It knows of the protocol what that takes: a message of the server is a letter, a length and a body, and the
one that tells of a committed transaction is CommandComplete (`C`) with the tag `COMMIT`. Connections
through it speak without encryption.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase

from sqlalchemy import URL, make_url

_COMMITTED = b"COMMIT\0"
_CHUNK = 64 * 1024


class LosingProxy:
    """Passes everything on, but for the answers it is told to lose."""

    def __init__(self, server: URL) -> None:
        self.server = (server.host or "127.0.0.1", server.port or 5432)
        self.is_down = False  #: nobody gets through
        self.lost = 0  #: answers lost so far
        self._losing = 0
        self._goes_down = False
        self._lock = threading.Lock()

    def lose_next(self, *, and_go_down: bool = False) -> None:
        """Loses the next answer to a COMMIT; with `and_go_down` nobody gets through after it."""
        with self._lock:
            self._losing, self._goes_down = 1, and_go_down

    def loses(self, kind: bytes, body: bytes) -> bool:
        """Whether this message is one to be lost, and its connection with it."""
        if kind != b"C" or body != _COMMITTED:
            return False
        with self._lock:
            losing, self._losing = self._losing, 0
            self.lost += losing
            self.is_down = self.is_down or bool(losing and self._goes_down)
            return bool(losing)


@contextmanager
def losing(url: str) -> Iterator[tuple[LosingProxy, str]]:
    """A proxy before the database, and the URL that leads through it."""
    direct = make_url(url)
    proxy = LosingProxy(direct)
    listener = _Listener(("127.0.0.1", 0), _Connection)
    listener.proxy = proxy
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    through = direct.set(host="127.0.0.1", port=listener.server_address[1]).update_query_dict(
        {"sslmode": "disable", "gssencmode": "disable"}
    )
    try:
        yield proxy, through.render_as_string(hide_password=False)
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


class _Listener(socketserver.ThreadingTCPServer):
    proxy: LosingProxy
    daemon_threads = True
    block_on_close = False


class _Connection(socketserver.StreamRequestHandler):
    """A client's connection, and ours to the server; both end together."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        assert isinstance(self.server, _Listener)
        proxy = self.server.proxy
        if proxy.is_down:
            return
        with socket.create_connection(proxy.server) as server, contextlib.suppress(OSError):
            threading.Thread(target=self._send_on, args=(server,), daemon=True).start()
            with server.makefile("rb") as answers:
                for kind, body in messages(answers):
                    if proxy.loses(kind, body):
                        break
                    self.wfile.write(kind + (len(body) + 4).to_bytes(4, "big") + body)
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send_on(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := self.connection.recv(_CHUNK):
                server.sendall(chunk)
            server.shutdown(socket.SHUT_RDWR)


def messages(answers: BufferedIOBase) -> Iterator[tuple[bytes, bytes]]:
    """What the server says, message by message: kind and body."""
    while len(head := answers.read(5)) == 5:
        length = int.from_bytes(head[1:], "big") - 4
        yield head[:1], answers.read(length)
