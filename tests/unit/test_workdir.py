"""Folders of jobs: gone with the job, swept after a killed process, and never taken from a living one."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from outsourced import workdir
from outsourced.workdir import PREFIX, Workdir

#: works in a folder until it is killed
WORKS = """
import sys, tempfile
from outsourced.workdir import Workdir
tempfile.tempdir = sys.argv[1]
folder = Workdir()
(folder.path / "half").write_text("done")
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of this test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


class Process:
    """A process that works in a folder."""

    def __init__(self, temporary: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKS, str(temporary)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.folder = Path(self._process.stdout.readline().strip())

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def process(temporary: Path) -> Iterator[Process]:
    process = Process(temporary)
    yield process
    process.kill()


def test_remove_deletes_the_folder_with_what_is_in_it() -> None:
    folder = Workdir()
    (folder.path / "deep").mkdir()
    (folder.path / "deep" / "file").touch()
    assert folder.remove()
    assert not folder.path.exists()


def test_sweep_leaves_folders_that_are_worked_in(process: Process) -> None:
    mine = Workdir()
    assert workdir.sweep() == 0
    assert mine.path.is_dir()
    assert (process.folder / "half").read_text() == "done"
    mine.remove()


def test_sweep_deletes_the_folder_of_a_killed_process(process: Process) -> None:
    process.kill()
    assert process.folder.is_dir()
    assert workdir.sweep() == 1
    assert not process.folder.exists()


def test_sweep_touches_nothing_else(temporary: Path) -> None:
    (temporary / "outsourced-postgres-1").mkdir()
    (temporary / f"{PREFIX}file").touch()
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (temporary / f"{PREFIX}link").symlink_to(elsewhere)
    before = sorted(temporary.iterdir())
    assert workdir.sweep() == 0
    assert sorted(temporary.iterdir()) == before
