"""Tasks for the worker's tests."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import outsourced
from outsourced.exceptions import SoftTimeLimitExceeded
from outsourced.signals import task_prerun, worker_process_init


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


@outsourced.task(name="spin", time_limit=0.3)
def spin() -> None:
    """Runs for ever, deaf to whatever is raised in it."""
    while True:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001 - it is a bad citizen
            continue


@outsourced.task(name="tidy", soft_time_limit=0.2, time_limit=30)
def tidy(marker: str) -> str:
    """Tidies up when its time is over."""
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        Path(marker).touch()
        return "tidied"
    return "done"


@outsourced.task(name="overrun", soft_time_limit=0.2)
def overrun() -> None:
    time.sleep(60)


@outsourced.task(name="tell")
def tell(number: int, marker: str | None = None) -> int:
    """Tells so often how far it is; with a marker, once more when it is there, and again waits."""
    for current in range(1, number + 1):
        outsourced.current_job.progress(current, number)
    if marker is not None:
        wait_for(marker)
        outsourced.current_job.progress(0, 0)
        wait_for(f"{marker}.end")
    return os.getpid()


@outsourced.task(name="tell_too_long", soft_time_limit=0.3, bind=True)
def tell_too_long(self: outsourced.Task[..., str]) -> str:
    """Tells as much as it may, without a pause."""
    try:
        while True:
            self.update_state(state="FULL", meta="x" * 60_000)
    except SoftTimeLimitExceeded:
        return "tidied"


@outsourced.task(name="seen")
def seen() -> list[str]:
    """The signals this process has sent so far."""
    return list(SEEN)


SEEN: list[str] = []


@worker_process_init.connect
def note_process_init(**_: object) -> None:
    SEEN.append("worker_process_init")


@task_prerun.connect(sender="seen")
def note_prerun(**_: object) -> None:
    SEEN.append("task_prerun")
