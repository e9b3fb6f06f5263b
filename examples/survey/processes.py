"""The processes of a run: started, watched, started again when they die, and ended to the last one.

Each gets a session of its own, so that Ctrl-C reaches the runner alone, which ends them in order.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

#: seconds a process has to end by itself after TERM
GRACE = 10.0
#: seconds between two looks at the processes
GLANCE = 0.1
#: a process that ends by itself within these seconds would not fare better the next time
SHORTEST_LIFE = 2.0

Say = Callable[[str], None]


class Stopped(Exception):
    """The user wants it to end."""


class Failed(Exception):
    """Something does not work; the message says what, and where to look."""


class Stop:
    """Set by INT, TERM and HUP; asked for at safe points only, so nothing is ever started and forgotten."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked.set()

    def sleep(self, seconds: float = GLANCE) -> None:
        """Waits; raises Stopped as soon as it is asked for."""
        if self._asked.wait(seconds):
            raise Stopped


class Supervised:
    """A process that has to run until the end, with its log."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        folder: Path,
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._folder = folder
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Starts it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started_at = time.monotonic()

    def has_died(self) -> bool:
        """Whether it ended by itself, or was killed."""
        return self._process is not None and self._process.poll() is not None

    def revive(self, say: Say) -> None:
        """Starts it again if it has died; raises Failed where it dies of itself."""
        if self._process is None or self._process.poll() is None:
            return
        pid, code, lived = self._process.pid, self._process.returncode, time.monotonic() - self._started_at
        how = describe_exit(code)
        self._end_group()
        if code >= 0 and lived < SHORTEST_LIFE:
            raise Failed(
                f"the {self.name} {how} as soon as it was started:\n\n{tail(self.log)}\n\nmore in {self.log}"
            )
        self.start()
        say(f"the {self.name} (pid {pid}) {how}: started again, pid {self.pid}")

    def stop(self) -> None:
        """Ends it and whatever it has started; kills what does not heed TERM."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._end_group()

    def _end_group(self) -> None:
        """Kills what is left of the process's session, such as the children of a killed parent."""
        assert self._process is not None
        kill_group(self._process.pid)
        self._process.wait()
        self._process = None


def kill_group(leader: int) -> None:
    """Kills every process of a group, if there still is one."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def attend(
    process: subprocess.Popen[bytes], stop: Stop, supervised: Sequence[Supervised], *, say: Say
) -> int:
    """Waits for a process, keeping the others alive; gives its exit code. When stopped, it is interrupted."""
    try:
        while process.poll() is None:
            stop.sleep()
            for other in supervised:
                other.revive(say)
        return process.returncode
    finally:
        if process.poll() is None:
            # INT, as if Ctrl-C had reached it: a progress bar gives the cursor back
            process.send_signal(signal.SIGINT)
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def describe_exit(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
