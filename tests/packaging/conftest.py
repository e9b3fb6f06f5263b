"""The wheel, built once, and a fresh virtual environment that has it and nothing optional."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


class Installation:
    """A virtual environment with outsourced as a remote machine has it."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "bin/python"
        self.worker = folder / "bin/outsourced_worker"

    def run(self, *command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
        """Runs a command with a bare environment, in a folder where the checkout is not in reach."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def bare_installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel without any extra, on the locked dependencies of a worker."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, with_pip=True)
    installation = Installation(folder)
    lock = ROOT / "requirements-worker.txt"
    for what in (["--require-hashes", "-r", str(lock)], ["--no-deps", str(wheel)]):
        pip = [installation.python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *what]
        subprocess.run(pip, check=True)
    return installation
