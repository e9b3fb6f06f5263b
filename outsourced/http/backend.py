"""`HttpConsumer`: a worker's side of the exchange, over HTTPS. Implements `backend.Consumer`."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from outsourced.attachments import appearing
from outsourced.errors import BackendUnavailable, DigestMismatch, InvalidRequest, NotFound, retry_after
from outsourced.http.download import LONGEST_PAUSE, download
from outsourced.http.producer import HttpProducer
from outsourced.http.transport import Transport
from outsourced.records import ExchangeReply, ExchangeRequest, Lease, StoredFile
from outsourced.wire.exchange import dump_exchange
from outsourced.wire.headers import DIGEST_HEADER, check_file_name, dump_digest
from outsourced.wire.reply import load_file, load_reply

log = logging.getLogger(__name__)

#: seconds before each further try to move a file
PAUSES = (0.5, 2.0, 5.0)

T = TypeVar("T")


class HttpConsumer:
    """Claims, settles and moves files over one Transport.

    An exchange is sent once: its caller sends it again. Files are tried again here, since sending
    the same bytes twice changes nothing.
    """

    def __init__(self, transport: Transport, *, pauses: Sequence[float] = PAUSES) -> None:
        self._transport = transport
        self._pauses = pauses

    def exchange(self, request: ExchangeRequest) -> ExchangeReply:
        body = self._transport.exchange(dump_exchange(request), wait=request.wait)
        with _readable(self._transport.url):
            return load_reply(body)

    def fetch_attachment(self, lease: Lease, target: Path) -> None:
        if lease.attachment is None:
            raise NotFound("this job has no attachment", job_id=str(lease.job_id))
        path = f"/v1/leases/{lease.id}/attachment"
        with appearing(target) as file:
            download(self._transport, path, file, wanted=lease.attachment, pauses=self._pauses)

    def save_file(self, lease: Lease, name: str, source: Path, content_type: str) -> StoredFile:
        path = f"/v1/leases/{lease.id}/files/{quote(check_file_name(name), safe='')}"
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        headers = {"Content-Type": content_type, DIGEST_HEADER: dump_digest(digest)}

        def put() -> StoredFile:
            with source.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                body = self._transport.upload(path, file, size=size, headers=headers)
            with _readable(self._transport.url):
                return load_file(body)

        return self._again(put)

    def producer(self, lease: Lease) -> HttpProducer:
        return HttpProducer(self._transport, f"/v1/leases/{lease.id}/jobs")

    def close(self) -> None:
        self._transport.close()

    def _again(self, move: Callable[[], T]) -> T:
        """What `move` gives, tried again after each pause while the way is the trouble."""
        for least in self._pauses:
            try:
                return move()
            except (BackendUnavailable, DigestMismatch) as error:
                pause = max(least, min(LONGEST_PAUSE, retry_after(error)))
                log.warning("%s; trying again in %.1f s", error, pause)
                time.sleep(pause)
        return move()


@contextmanager
def _readable(url: str) -> Iterator[None]:
    """An answer that is not what the protocol says does not come from an outsourced server."""
    try:
        yield
    except InvalidRequest as error:
        raise BackendUnavailable(f"{url} answered what cannot be read: {error}", url=url) from error
