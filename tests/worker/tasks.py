"""Tasks for the worker's tests."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import outsourced


@outsourced.task(name="noop")
def noop(value: int) -> int:
    return value


@outsourced.task(name="fail")
def fail() -> None:
    raise ValueError("on purpose")


@outsourced.task(name="pid")
def pid() -> int:
    return os.getpid()


@outsourced.task(name="die")
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@outsourced.task(name="leave")
def leave() -> None:
    os._exit(3)


@outsourced.task(name="die_once")
def die_once(marker: str) -> str:
    """Kills its process, unless it did so before."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        die()
    return "survived"


@outsourced.task(name="wait_for")
def wait_for(marker: str) -> str:
    """Runs until the file is there."""
    path = Path(marker)
    while not path.exists():
        time.sleep(0.01)
    return "seen"


@outsourced.task(name="die_in_workdir")
def die_in_workdir(marker: str) -> None:
    """Leaves a folder behind, and its path in the marker."""
    Path(marker).write_text(str(outsourced.current_job.workdir))
    die()


@outsourced.task(name="touch")
def touch(marker: str) -> None:
    Path(marker).touch()
