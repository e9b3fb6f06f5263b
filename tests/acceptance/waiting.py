"""Waiting for other processes, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

#: seconds after which something has failed to happen
PATIENCE = 20.0


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Returns as soon as the condition holds; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def is_gone(process: psutil.Process) -> bool:
    """Whether the process has ended; one that nobody has reaped yet has."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
