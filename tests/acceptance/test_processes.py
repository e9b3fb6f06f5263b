"""The runner's keeping of processes: what dies is started again, what ends leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from processes import Failed, Stop, Stopped, Supervised
from tests.acceptance.waiting import is_gone, wait_until

#: starts a child of its own, writes its pid, and stays
PARENT = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
draft = pathlib.Path("child.new"); draft.write_text(str(child.pid)); draft.rename("child")
time.sleep(60)
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Supervised]:
    supervised = Supervised(
        "parent",
        [sys.executable, "-c", PARENT],
        folder=tmp_path,
        environment=os.environ,
        log=tmp_path / "log",
    )
    supervised.start()
    yield supervised
    supervised.stop()


def child_of(folder: Path) -> psutil.Process:
    wait_until((folder / "child").exists)
    return psutil.Process(int((folder / "child").read_text()))


def test_stop_ends_the_process_and_its_children(parent: Supervised, tmp_path: Path) -> None:
    child = child_of(tmp_path)
    parent.stop()
    assert parent.pid is None
    wait_until(lambda: is_gone(child))


def test_revive_starts_what_was_killed_and_says_so(parent: Supervised, tmp_path: Path) -> None:
    child, first = child_of(tmp_path), parent.pid
    assert first is not None
    said: list[str] = []
    os.kill(first, signal.SIGKILL)
    wait_until(parent.has_died)
    parent.revive(said.append)
    assert said == [
        f"the parent (pid {first}) was killed by SIGKILL: started again, pid {parent.pid}",
    ]
    assert parent.pid != first
    wait_until(lambda: is_gone(child))


def test_revive_gives_up_on_what_dies_of_itself(tmp_path: Path) -> None:
    broken = Supervised(
        "server",
        [sys.executable, "-c", "raise SystemExit('no such module')"],
        folder=tmp_path,
        environment=os.environ,
        log=tmp_path / "log",
    )
    broken.start()
    wait_until(broken.has_died)
    with pytest.raises(Failed, match="no such module"):
        broken.revive(lambda text: None)
    assert broken.pid is None


def test_stop_is_raised_where_it_is_asked_for() -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        stop = Stop()
        stop.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            stop.sleep(5)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
