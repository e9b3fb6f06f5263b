"""A client's producer, which knows owners too: how many of the client's jobs a Thing has, and which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import quote

from outsourced.http.producer import HttpProducer
from outsourced.records import Job, Owner
from outsourced.states import State
from outsourced.wire.jobs import load_cancelled, load_owned

#: jobs asked for at a time
PAGE = 200


class ClientProducer(HttpProducer):
    """Implements `backend.OwnerView` beside `backend.Producer`, of what the client has enqueued."""

    def count_of(self, owner: Owner) -> Mapping[State, int]:
        return load_owned(self._transport.get(f"{_place(owner)}/jobs?limit=1")).counts

    def jobs_of(self, owner: Owner) -> Iterator[Job]:
        cursor = ""
        while True:
            page = load_owned(self._transport.get(f"{_place(owner)}/jobs?limit={PAGE}{cursor}"))
            yield from page.jobs
            if page.cursor is None:
                return
            cursor = f"&cursor={page.cursor}"

    def cancel_of(self, owner: Owner) -> tuple[int, int]:
        return load_cancelled(self._transport.post(f"{_place(owner)}/cancel", b"", headers={}))


def _place(owner: Owner) -> str:
    return f"/v1/owners/{quote(owner.type, safe='')}/{quote(owner.id, safe='')}"
