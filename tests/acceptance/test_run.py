"""`make run`: real processes, killed on the way, and the same result."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.waiting import is_gone

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not (ROOT / ".venv-worker/bin/outsourced_worker").exists(), reason="no .venv-worker: run `make test`"
    ),
]

GOOD = "def double(x):\n    return 2 * x\n"


class Run:
    """The runner as a user starts it, on a folder of its own."""

    def __init__(self, folder: Path, *arguments: str | Path) -> None:
        command = [sys.executable, ROOT / "examples/survey/run.py", "--folder", folder / "run", *arguments]
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def read_until(self, pattern: str) -> re.Match[str]:
        """The first line from here on that matches; fails when the output ends before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if match := re.search(pattern, line):
                return match
        pytest.fail(f"the run ended before {pattern!r} came:\n{self.output}")

    def read_to_end(self) -> int:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            self.lines.extend(stdout)
        return self.process.wait()

    def stop(self) -> None:
        """Ends it as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    for number in range(60):
        (folder / f"module_{number}.py").write_text(GOOD * (number + 1))
    (folder / "broken.py").write_text("print 'hello'\n")
    return folder


@pytest.fixture
def run(tmp_path: Path, sources: Path) -> Iterator[Run]:
    run = Run(tmp_path, sources)
    yield run
    if run.process.poll() is None:
        run.stop()
        run.read_to_end()


def pid_of(run: Run, name: str) -> int:
    return int(run.read_until(rf"{name} +pid (\d+)")[1])


def family_of(run: Run) -> list[psutil.Process]:
    return psutil.Process(run.process.pid).children(recursive=True)


def test_run_surveys_every_file_and_reports_the_broken_one(run: Run) -> None:
    server, worker = pid_of(run, "server"), pid_of(run, "worker")
    assert run.read_to_end() == 0, run.output
    assert "61 jobs in" in run.output
    assert "60 completed, 1 failures" in run.output
    assert "SyntaxError: Missing parentheses" in run.output
    assert not psutil.pid_exists(server)
    assert not psutil.pid_exists(worker)


def test_run_survives_the_kill_of_server_and_worker(run: Run) -> None:
    pids = {name: pid_of(run, name) for name in ("server", "worker")}
    run.read_until("surveying 61 files")
    for name, pid in pids.items():
        os.kill(pid, signal.SIGKILL)
        run.read_until(rf"the {name} \(pid {pid}\) was killed by SIGKILL: started again")
    assert run.read_to_end() == 0, run.output
    assert "60 completed, 1 failures" in run.output


def test_interrupt_leaves_nothing_running(run: Run) -> None:
    pid_of(run, "worker")
    run.read_until("surveying")
    family = family_of(run)
    assert len(family) >= 3
    run.stop()
    assert run.read_to_end() == 130
    assert "nothing is left running" in run.output
    assert not [process for process in family if not is_gone(process)]


def test_interrupt_while_setting_up_leaves_nothing_running(run: Run) -> None:
    run.read_until("worker create")
    family = family_of(run)
    run.stop()
    assert run.read_to_end() == 130
    assert not [process for process in family if not is_gone(process)]


def test_run_on_a_taken_port_says_which_and_what_to_type(tmp_path: Path, sources: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = Run(tmp_path, "--port", str(port), sources)
        assert run.read_to_end() == 1
    assert f"port {port} cannot be had" in run.output
    assert "make run PORT=" in run.output
    assert "Traceback" not in run.output
