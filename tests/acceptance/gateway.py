"""A company's way out: an HTTP proxy that carries what is inside TLS by CONNECT, and sees none of it."""

from __future__ import annotations

import base64
import socket
import socketserver
import threading
from contextlib import suppress
from typing import Any

#: bytes moved at a time
PIECE = 64 * 1024


class Gateway:
    """Listens on a free port of loopback. Asks for a login where one is set; may cut long downloads."""

    def __init__(self, *, login: str | None = None, cut_after: int | None = None) -> None:
        self.asked: list[str] = []  #: the addresses asked for
        self.cuts = 0
        self._login = login
        self._cut_after = cut_after
        self._listener = _Listener(("127.0.0.1", 0), _Connection)
        self._listener.gateway = self
        self._thread = threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def address(self) -> str:
        """Without the login."""
        return f"127.0.0.1:{self._listener.server_address[1]}"

    def __enter__(self) -> Gateway:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()

    def admits(self, headers: dict[str, str]) -> bool:
        """Whether the login is right."""
        if self._login is None:
            return True
        basic = base64.b64encode(self._login.encode()).decode()
        return headers.get("proxy-authorization") == f"Basic {basic}"

    def carry(self, client: socket.socket, server: socket.socket) -> None:
        """Moves bytes both ways until one side ends, or too much came from the server."""
        back = threading.Thread(target=_pump, args=(client, server, None))
        back.start()
        if _pump(server, client, self._cut_after):
            self.cuts += 1
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        back.join()


def _pump(source: socket.socket, target: socket.socket, most: int | None) -> bool:
    """Moves bytes one way; gives whether it stopped because there were more than the most."""
    moved = 0
    with suppress(OSError):
        while piece := source.recv(PIECE):
            moved += len(piece)
            if most is not None and moved > most:
                return True
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    return False


class _Listener(socketserver.ThreadingTCPServer):
    gateway: Gateway
    daemon_threads = True
    block_on_close = False


class _Connection(socketserver.StreamRequestHandler):
    rbufsize = 0  # not a byte of the tunnel may stay in a buffer

    def handle(self) -> None:
        assert isinstance(self.server, _Listener)
        gateway = self.server.gateway
        method, _, rest = self.rfile.readline().decode().partition(" ")
        headers = dict(self._headers())
        address = rest.partition(" ")[0]
        gateway.asked.append(address)
        if not gateway.admits(headers):
            self._refuse("407 Proxy Authentication Required", 'Proxy-Authenticate: Basic realm="out"\r\n')
            return
        if method != "CONNECT":
            self._refuse("405 Method Not Allowed")
            return
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=60) as server:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            gateway.carry(self.request, server)

    def _headers(self) -> Any:
        while (line := self.rfile.readline().decode().strip()) != "":
            name, _, value = line.partition(":")
            yield name.lower(), value.strip()

    def _refuse(self, status: str, more: str = "") -> None:
        self.wfile.write(
            f"HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
