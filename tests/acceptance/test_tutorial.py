"""The tutorial, word for word: its files are written and its lines typed, on one machine."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.acceptance.conftest import needs_worker
from tests.acceptance.deployment import ROOT, WORKER, answers, reserve_port
from tests.acceptance.process import Process
from tests.acceptance.waiting import wait_until

pytestmark = [pytest.mark.slow, needs_worker]

TUTORIAL = (ROOT / "docs/tutorial.md").read_text()
BLOCKS = re.findall(r"^```(?:python)?\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)
PICTURE = bytes(range(256))


def file_named(name: str) -> str:
    (block,) = (block for block in BLOCKS if block.startswith(f"# {name}\n"))
    return block


def lines_with(text: str) -> list[str]:
    """The lines of the only block that has this in it."""
    (block,) = (block for block in BLOCKS if text in block)
    return block.splitlines()


class Reader:
    """Somebody who does what the tutorial says, in a folder for each machine."""

    def __init__(self, folder: Path, port: int) -> None:
        self.server, self.home = folder / "server", folder / "home"
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{WORKER.parent}{os.pathsep}/usr/bin:/bin",
            "HOME": str(folder),
            "OUTSOURCED_PROMOTE_INTERVAL": "100ms",
        }
        for place in (self.server, self.home):
            place.mkdir()
            (place / "gallery_tasks.py").write_text(file_named("gallery_tasks.py"))
        (self.server / "app.py").write_text(file_named("app.py"))
        self._running: list[Process] = []

    def type(self, line: str, folder: Path) -> str:
        """Types a line, and yes where it asks; it must succeed. Gives what it printed."""
        done = subprocess.run(
            self._here(line),
            cwd=folder,
            env=self._environment,
            input="y\n",
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, line: str, folder: Path) -> Process:
        """Types a line that goes on."""
        process = Process(
            "it",
            self._here(line),
            folder=folder,
            environment=self._environment,
            log=folder / f"{len(self._running)}.log",
        )
        process.start()
        self._running.append(process)
        return process

    def _here(self, line: str) -> list[str]:
        here = line.replace("https://gallery.example.com", self.url).replace(":8000", f":{self._port}")
        command = shlex.split(here)
        found = [Path(sys.executable).parent / command[0], WORKER.parent / command[0]]
        program = next((str(path) for path in found if path.exists()), command[0])
        return [program, *command[1:]]

    def end(self) -> None:
        for process in self._running:
            process.end()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with reserve_port() as reserved:
        port = int(reserved.getsockname()[1])
        reader = Reader(tmp_path, port)
        for line in lines_with("outsourcer init"):
            reader.type(line, reader.server)
        (serve,) = lines_with("gunicorn -k")
        reader.start(serve + " --no-control-socket", reader.server)
        wait_until(lambda: answers(port))
        (reader.server / "home.yml").rename(reader.home / "home.yml")
        yield reader
        reader.end()


def test_tutorial_s_picture_is_worked_on_at_home(reader: Reader) -> None:
    posted = requests.post(f"{reader.url}/pictures", files={"picture": ("cat.bin", PICTURE)}, timeout=10)
    assert posted.status_code == 202, posted.text
    job = posted.json()["job"]
    place = f"{reader.url}/pictures/{job}"
    assert requests.get(place, timeout=10).json()["state"] == "PENDING"
    reader.type(lines_with("--check")[-1], reader.home)
    (work,) = lines_with("home.yml -c 1")
    worker = reader.start(work, reader.home)
    wait_until(lambda: requests.get(place, timeout=10).json()["state"] == "SUCCESS")
    assert requests.get(place, timeout=10).json()["result"] == {"bytes": 256}
    assert requests.get(f"{place}/file", timeout=10).content == bytes(255 - byte for byte in PICTURE)

    listing, history = lines_with("outsourcer job list")
    assert "completed" in reader.type(listing, reader.server)
    assert "home" in reader.type(history.replace("ID", job), reader.server)

    (fails,) = lines_with("job enqueue")
    told = reader.type(fails, reader.server)
    failing = re.search(r"[0-9a-f-]{36}", told)
    assert failing is not None
    tries = history.replace("ID", failing[0])
    wait_until(lambda: "does not answer" in reader.type(tries, reader.server))
    reader.type(f"flask outsourcer job cancel {failing[0]}", reader.server)

    for line in lines_with("worker pause home"):
        told = reader.type(line, reader.server)
    assert "lock" in told
    worker.terminate()
    assert worker.wait_ended() == 0
