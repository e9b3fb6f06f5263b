"""What went wrong on the way to a server, in words for whoever configured the way."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from requests.exceptions import ProxyError
from urllib3.exceptions import ConnectTimeoutError, ReadTimeoutError

from outsourced import clock

#: X509_V_ERR_…: the certificate is not of its time, …
_NOT_YET_VALID, _EXPIRED = 9, 10
#: … or for another host
_OTHER_NAME = frozenset({62, 64})


def describe_trouble(error: BaseException, *, url: str) -> str:
    """Says in one sentence why the server at `url` was not reached, and what to look at."""
    causes = list(_causes(error))
    return f"{url} does not answer: {_of_proxy(causes) or _of_tls(causes) or _of_connection(causes, url)}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it wraps, outermost first."""
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        found = todo.pop(0)
        if isinstance(found, BaseException) and id(found) not in seen:
            seen.add(id(found))
            yield found
            todo += [*found.args, getattr(found, "reason", None), getattr(found, "original_error", None)]
            todo += [found.__cause__, found.__context__]


def _of_proxy(causes: list[BaseException]) -> str | None:
    if not any(isinstance(error, ProxyError) for error in causes):
        return None
    deepest = str(causes[-1])
    if "407" in deepest:
        return "the proxy asks for a login: write it into `proxy:` as http://user:password@host:port"
    return f"the proxy (`proxy:`, or HTTPS_PROXY in the environment) does not let us through: {deepest}"


def _of_tls(causes: list[BaseException]) -> str | None:
    for error in causes:
        if isinstance(error, ssl.SSLCertVerificationError):
            return _of_certificate(error)
        if isinstance(error, ssl.SSLError):
            return f"it speaks no TLS we know there ({error.reason}): is the port in `url:` right?"
    return None


def _of_certificate(error: ssl.SSLCertVerificationError) -> str:
    why = error.verify_message
    if error.verify_code in (_NOT_YET_VALID, _EXPIRED):
        return f"{why}, or this machine's clock is wrong: it says {clock.now():%Y-%m-%d %H:%M} UTC"
    if error.verify_code in _OTHER_NAME:
        return f"its certificate is for another host: {why}"
    return (
        f"its certificate is of an authority this machine does not know ({why}). Where a company's own "
        "signs, as do proxies that look into TLS, name its file as `ca_bundle:`"
    )


def _of_connection(causes: list[BaseException], url: str) -> str:
    for error in reversed(causes):
        match error:
            case socket.gaierror():
                host = urlsplit(url).hostname
                return (
                    f"no host {host} is known here: is `url:` spelt right, and does DNS work? Where only a "
                    "proxy knows the way, name it as `proxy:`"
                )
            case ConnectionRefusedError():
                return "nothing listens at that port (connection refused)"
            case ConnectTimeoutError():
                return "nobody accepts the connection: a firewall may be in between"
            case ReadTimeoutError():
                return "it took the request, but its answer timed out"
    return str(causes[-1])
