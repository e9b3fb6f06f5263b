"""What every measurement needs: processes that are ended, waiting, and what CPU a process has used."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
#: seconds after which something is taken to hang
PATIENCE = 60.0
#: seconds a process has to end when it is told to
GRACE = 30.0


@contextmanager
def process(
    command: list[object], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[psutil.Process]:
    """A process that runs for the block's time, in the checkout; ended with all it has started."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=None if environment is None else dict(environment),
            start_new_session=True,
        )
    try:
        yield psutil.Process(started.pid)
    except SystemExit:
        print(f"{log.name} ends:\n{log.read_text(errors='replace')[-2000:]}")
        raise
    finally:
        started.terminate()
        with suppress(subprocess.TimeoutExpired):
            started.wait(GRACE)
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def timed(work: Callable[[], object]) -> float:
    """Seconds that the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def wait_until(ready: Callable[[], bool], *, look: float = 0.05) -> float:
    """The moment when it is, looking every so many seconds; ends the program where it never is."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            raise SystemExit("the worker does not get on")
        time.sleep(look)
    return time.perf_counter()


def cpu(*processes: psutil.Process) -> float:
    """Seconds of CPU of the processes and their children."""
    total = 0.0
    for one in processes:
        for member in (one, *one.children(recursive=True)):
            times = member.cpu_times()
            total += times.user + times.system
    return total
