"""`HttpProducer`: enqueues over HTTPS, and looks after what it has enqueued. Implements `backend.Producer`.

A client's jobs are at `/v1/jobs`, a task's children under its lease. Every call to enqueue has one
Idempotency-Key however often it is sent: an answer that got lost costs no second job.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import quote
from uuid import UUID, uuid4

from outsourced.errors import (
    BackendUnavailable,
    ConfigurationError,
    NotFound,
    PayloadError,
    retry_after,
)
from outsourced.http.download import download
from outsourced.http.multipart import Multipart
from outsourced.http.transport import Transport
from outsourced.records import Job, NewJob, Transition
from outsourced.states import TERMINAL
from outsourced.wire.groups import dump_group, load_group
from outsourced.wire.headers import KEY_HEADER, check_file_name
from outsourced.wire.jobs import load_children, load_history, load_job
from outsourced.wire.new_jobs import MAX_JOBS, dump_new_job, dump_new_jobs

#: seconds before each further try to enqueue
PAUSES = (0.2, 1.0, 3.0)
#: seconds one request waits for a job's end
WAIT_SLICE = 25.0
#: seconds between two looks at a job where the server lets nobody wait
LOOK = 0.5
#: bytes of a file kept in memory; a larger one goes to disk
IN_MEMORY = 1024 * 1024

T = TypeVar("T")


class HttpProducer:
    """A Producer at one address of a server. Safe to use from several threads."""

    def __init__(self, transport: Transport, path: str, *, pauses: Sequence[float] = PAUSES) -> None:
        self._transport = transport
        self._path = path
        self._pauses = pauses

    def enqueue(self, jobs: Sequence[NewJob], *, session: Any = None) -> None:
        if session is not None:
            raise ConfigurationError(
                "session= joins a transaction of the server's database: there is none here"
            )
        if not jobs:
            return
        headers = {KEY_HEADER: str(uuid4())}
        if len(jobs) == 1:
            self._enqueue_one(jobs[0], headers)
            return
        if any(job.attachment is not None for job in jobs):
            raise PayloadError("over HTTP, enqueue jobs with attachments one at a time")
        if len(jobs) > MAX_JOBS:
            raise PayloadError(f"over HTTP, enqueue at most {MAX_JOBS:,} jobs at once")
        body = dump_new_jobs(jobs)
        self._again(lambda: self._transport.post(f"{self._path}/batch", body, headers=_json(headers)))

    def _enqueue_one(self, job: NewJob, headers: dict[str, str]) -> None:
        body, attachment = dump_new_job(job), job.attachment
        if attachment is None:
            self._again(lambda: self._transport.post(self._path, body, headers=_json(headers)))
            return

        def post() -> bytes:
            with attachment.open() as stream, Multipart(body, stream, attachment) as parts:
                return self._transport.post(
                    self._path, cast(BinaryIO, parts), headers=headers | {"Content-Type": parts.content_type}
                )

        self._again(post)

    def job(self, job_id: UUID) -> Job | None:
        return self._get(job_id, wait=0.0)

    def history(self, job_id: UUID) -> Sequence[Transition]:
        try:
            return load_history(self._transport.get(f"{self._path}/{job_id}/history"))
        except NotFound:
            return ()

    def wait(self, job_id: UUID, timeout: float) -> Job | None:
        deadline = time.monotonic() + timeout
        while True:
            asked_at = time.monotonic()
            left = max(0.0, deadline - asked_at)
            job = self._get(job_id, wait=min(left, WAIT_SLICE))
            if job is None or job.state in TERMINAL or time.monotonic() >= deadline:
                return job
            # the server lets only so many wait; the others come again
            early = asked_at + LOOK - time.monotonic()
            time.sleep(max(0.0, min(early, deadline - time.monotonic())))

    def cancel(self, job_id: UUID, *, unless_begun: bool = False) -> Job | None:
        query = "?unless_begun=true" if unless_begun else ""
        try:
            body = self._transport.post(f"{self._path}/{job_id}/cancel{query}", b"", headers={})
        except NotFound:
            return None
        return load_job(body)

    def children(self, job_id: UUID) -> Sequence[UUID]:
        try:
            return load_children(self._transport.get(f"{self._path}/{job_id}/children"))
        except NotFound:
            return ()

    def forget(self, job_id: UUID) -> Job | None:
        try:
            body = self._transport.post(f"{self._path}/{job_id}/forget", b"", headers={})
        except NotFound:
            return None
        return load_job(body)

    def save_group(self, group_id: UUID, members: str) -> None:
        place = f"{self._path}/groups/{group_id}"
        self._again(lambda: self._transport.post(place, dump_group(members), headers=_json({})))

    def group(self, group_id: UUID) -> str | None:
        try:
            return load_group(self._transport.get(f"{self._path}/groups/{group_id}"))
        except NotFound:
            return None

    def forget_group(self, group_id: UUID) -> None:
        self._transport.post(f"{self._path}/groups/{group_id}/forget", b"", headers={})

    @contextmanager
    def open_file(self, job_id: UUID, name: str) -> Iterator[BinaryIO]:
        job = self.job(job_id)
        stored = next((file for file in job.files if file.name == name), None) if job else None
        if stored is None:
            raise NotFound(f"the job saved no file {name!r}", job_id=str(job_id))
        path = f"{self._path}/{job_id}/files/{quote(check_file_name(name), safe='')}"
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as spooled:
            file = cast(BinaryIO, spooled)
            download(self._transport, path, file, wanted=stored, pauses=self._pauses)
            file.seek(0)
            yield file

    def _get(self, job_id: UUID, *, wait: float) -> Job | None:
        query = f"?wait={math.floor(wait * 1000) / 1000}" if wait else ""
        try:
            return load_job(self._transport.get(f"{self._path}/{job_id}{query}", wait=wait))
        except NotFound:
            return None

    def _again(self, call: Callable[[], T]) -> T:
        """What `call` gives, tried again after each pause while the way, or the server, is the trouble."""
        for pause in self._pauses:
            try:
                return call()
            except BackendUnavailable as error:
                time.sleep(max(pause, min(retry_after(error), 2 * pause)))
        return call()


def _json(headers: dict[str, str]) -> dict[str, str]:
    return headers | {"Content-Type": "application/json"}
