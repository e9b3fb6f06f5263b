"""Tasks that write down when they began and when they ended. They run where only the worker is installed.

The file named by LEDGER gets a line for each, appended in one write: what is there happened, whatever
became of the process afterwards, and of the record at the server.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import outsourced
from outsourced.context import current_call


@outsourced.task(name="chore")
def chore(seconds: float) -> float:
    """Takes so long."""
    with recorded():
        time.sleep(seconds)
    return seconds


@outsourced.task(name="hold")
def hold(gate: str) -> str:
    """Runs until the file is there."""
    with recorded():
        while not Path(gate).exists():
            time.sleep(0.01)
    return "seen"


@outsourced.task(name="advance")
def advance(gate: str) -> str:
    """Tells often how far it is, then runs until the file is there."""
    with recorded():
        for done in range(1, 1001):
            outsourced.current_job.progress(done, 1000)
        while not Path(gate).exists():
            time.sleep(0.01)
    return "there"


@outsourced.task(name="copy")
def copy() -> None:
    """Gives the attachment back as a result file."""
    with recorded():
        outsourced.current_job.save_file(outsourced.current_job.attachment.path(), "copy")


@outsourced.task(name="make")
def make(size: int) -> None:
    """Saves a result file of this many bytes."""
    with recorded():
        path = outsourced.current_job.workdir / "made"
        with path.open("wb") as file:
            for start in range(0, size, 1 << 20):
                file.write(bytes([start >> 20 & 255]) * min(1 << 20, size - start))
        outsourced.current_job.save_file(path)


@outsourced.task(name="stumble", max_retries=1, default_retry_delay=0, autoretry_for=(ValueError,))
def stumble() -> int:
    """Fails at its first try."""
    with recorded():
        if outsourced.current_job.retries == 0:
            raise ValueError("on purpose")
        return outsourced.current_job.attempt


@outsourced.task(name="split")
def split(seconds: list[float]) -> list[str]:
    """Enqueues a chore for each, and gives their ids and states."""
    with recorded():
        children = [chore.delay(one) for one in seconds]
        children += outsourced.enqueue_many([(chore, (one,)) for one in seconds])
        return [f"{child.id} {child.state}" for child in children]


@outsourced.task(name="total")
def total(seconds: list[float]) -> float:
    """Adds them up."""
    with recorded():
        return sum(seconds)


@outsourced.task(name="double")
def double(number: int) -> int:
    """Leaves no line: it is called by another task, too."""
    return 2 * number


@outsourced.task(name="fail")
def fail(words: str) -> None:
    """Does."""
    with recorded():
        raise ValueError(words)


@outsourced.task(name="hear")
def hear(request: Any, exc: Exception, traceback: str) -> list[str]:
    """An errback: what it was told of."""
    with recorded():
        return [request.id, request.task, type(exc).__name__, str(exc)]


@outsourced.task(name="weave")
def weave(seconds: list[float]) -> str:
    """Enqueues a chord of its own; gives the id of its body."""
    with recorded():
        return outsourced.chord(chore.s(one) for one in seconds)(total.s()).id


@outsourced.task(name="survey", bind=True)
def survey(self: Any, seconds: list[float]) -> Any:
    """Has itself replaced by a chord of as many chores."""
    with recorded():
        return self.replace(outsourced.group(chore.s(one) for one in seconds) | total.s())


@outsourced.task(name="extend", bind=True)
def extend(self: Any, seconds: list[float]) -> float:
    """Adds as many chores to the chord that it is in."""
    with recorded():
        for one in seconds:
            self.add_to_chord(chore.s(one))
        return 0.0


@contextmanager
def recorded() -> Iterator[None]:
    """Writes the begin, and the end however it comes, short of a kill."""
    write("began")
    try:
        yield
    finally:
        write("ended")


def write(moment: str) -> None:
    """Appends one line: which job, under which lease, in which process of which worker."""
    call = current_call()
    assert call is not None
    assert call.lease is not None
    line = {
        "moment": moment,
        "job_id": str(call.lease.job_id),
        "lease_id": str(call.lease.id),
        "pid": os.getpid(),
        "worker_pid": int(os.environ.get("LEDGER_WORKER_PID") or os.getpid()),
        "at": time.monotonic(),
    }
    descriptor = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


if "LEDGER_WORKER_PID" not in os.environ:
    # imported first by the worker itself; its slot processes inherit it
    os.environ["LEDGER_WORKER_PID"] = str(os.getpid())
