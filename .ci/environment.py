"""Makes the virtual environments `make` works with, and brings them up to date; quick where they are.

    python .ci/environment.py server          .venv: everything, the checkout installed editable
    python .ci/environment.py server worker   also .venv-worker: the built wheel, without Flask or SQLAlchemy
    python .ci/environment.py server peers    also .venv-peers: the queues we compare with

Only the standard library is needed. What is installed is locked by hash in requirements-*.txt; where
from is a matter of the machine's own settings (PIP_*, UV_*, pip.conf).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVER = ROOT / ".venv"
WORKER = ROOT / ".venv-worker"
PEERS = ROOT / ".venv-peers"
STAMP = "outsourced.stamp"
PACKAGED = ("outsourced", "worker", "migrations")
#: settings of pip that uv does not read: where one is set, pip is asked
PIP_SOURCES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_CONFIG_FILE")


def main(names: list[str]) -> int:
    """Makes the environments of these names; gives the exit code."""
    makers: dict[str, Callable[[], None]] = {
        "server": make_server,
        "worker": make_worker,
        "peers": make_peers,
    }
    if not names or any(name not in makers for name in names):
        print(f"usage: {sys.argv[0]} [{'|'.join(makers)}]...", file=sys.stderr)
        return 2
    try:
        with _turn():
            for name in names:
                makers[name]()
    except subprocess.CalledProcessError as error:
        print(f"\n{_shown(error.cmd)}\nfailed with exit code {error.returncode}: see above", file=sys.stderr)
        return 1
    return 0


def make_server() -> None:
    """`.venv`: server, tests and tools, with this checkout installed so that edits act at once."""
    lock = ROOT / "requirements-dev.txt"
    fingerprint = _digest([lock, ROOT / "pyproject.toml"])
    if _is_current(SERVER, fingerprint):
        return
    _create(SERVER)
    _install_locked(SERVER, lock)
    _pip(SERVER, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    _stamp(SERVER, fingerprint)


def make_worker() -> None:
    """`.venv-worker`: what a remote machine has, from the built wheel."""
    lock = ROOT / "requirements-worker.txt"
    fingerprint = _digest([lock, ROOT / "pyproject.toml", *_packaged_files()])
    if _is_current(WORKER, fingerprint):
        return
    _create(WORKER)
    _install_locked(WORKER, lock)
    with tempfile.TemporaryDirectory() as folder:
        build = [SERVER / "bin/python", "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
        built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
        if built.returncode:
            sys.exit(f"the wheel cannot be built:\n{built.stderr}")
        wheel = next(Path(folder).glob("*.whl"))
        _pip(WORKER, "--no-deps", "--force-reinstall", str(wheel))
    _stamp(WORKER, fingerprint)


def make_peers() -> None:
    """`.venv-peers`: the queues that `make bench-peers` compares with."""
    lock = ROOT / "requirements-peers.txt"
    fingerprint = _digest([lock])
    if _is_current(PEERS, fingerprint):
        return
    _create(PEERS)
    _install_locked(PEERS, lock)
    _stamp(PEERS, fingerprint)


def _packaged_files() -> list[Path]:
    found = (file for folder in PACKAGED for file in (ROOT / folder).rglob("*"))
    return sorted(file for file in found if file.is_file() and "__pycache__" not in file.parts)


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for file in files:
        digest.update(f"{file.relative_to(ROOT)}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _is_current(venv: Path, fingerprint: str) -> bool:
    """Whether the environment was made from just this, and its interpreter is still there."""
    stamp = venv / STAMP
    return stamp.exists() and stamp.read_text() == fingerprint and (venv / "bin/python").exists()


def _stamp(venv: Path, fingerprint: str) -> None:
    (venv / STAMP).write_text(fingerprint)


def _create(venv: Path) -> None:
    (venv / STAMP).unlink(missing_ok=True)
    if _interpreter_version(venv) == sys.version_info[:2]:
        return
    print(f"· making {venv.name}", flush=True)
    if shutil.which("uv") and not _has_ensurepip():
        _run("uv", "venv", "--quiet", "--seed", "--clear", "--python", sys.executable, venv)
    else:
        _run(sys.executable, "-m", "venv", "--clear", venv)


def _interpreter_version(venv: Path) -> tuple[int, ...] | None:
    python = venv / "bin/python"
    if not python.exists():
        return None
    asked = [python, "-c", "import sys; print(*sys.version_info[:2])"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return tuple(map(int, answer.stdout.split())) if answer.returncode == 0 else None


def _has_ensurepip() -> bool:
    return subprocess.run([sys.executable, "-c", "import ensurepip"], check=False).returncode == 0


def _install_locked(venv: Path, lock: Path) -> None:
    print(f"· installing {lock.name} into {venv.name}", flush=True)
    _pip(venv, "--require-hashes", "--requirement", str(lock))


def _pip(venv: Path, *arguments: str) -> None:
    """Installs with uv where it is at hand and knows where from, else with pip."""
    python = venv / "bin/python"
    if shutil.which("uv") and not any(os.environ.get(name) for name in PIP_SOURCES):
        command = ["uv", "pip", "install", "--quiet", "--python", str(python), *arguments]
        if subprocess.run(command, cwd=ROOT, check=False).returncode == 0:
            return
        print("· uv could not install it; asking pip", flush=True)
    _run(python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *arguments)


def _run(*command: str | Path) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


def _shown(command: object) -> str:
    return " ".join(map(str, command)) if isinstance(command, (list, tuple)) else str(command)


@contextmanager
def _turn() -> Iterator[None]:
    """Two `make`s at once take turns."""
    with open(ROOT / ".venv.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
