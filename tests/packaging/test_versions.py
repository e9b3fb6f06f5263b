"""The last release beside this version: either one's worker on the other one's server, and its tables.

Both are built wheels in environments of their own. The last release is the newest tag `v*`; before
there is one, the last commit stands for it, under another version.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.deployment import answers, reserve_port
from tests.acceptance.process import Process
from tests.acceptance.waiting import wait_until
from tests.packaging.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

#: what the last commit is called where there is no release
STAND_IN = "0.0.1"
GUNICORN = ("-m", "gunicorn", "--no-control-socket", "--worker-class", "gthread", "--threads", "8")
#: seconds for all jobs of a test
PATIENCE = 60.0

APP = """
import outsourced
from flask import Flask
import chores

app = Flask(__name__)
app.config["SECRET_KEY"] = "a secret of the host"
app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
"""

CHORES = """
import outsourced

@outsourced.task(queue="q")
def add(x, y):
    return x + y

@outsourced.task(queue="q", bind=True, max_retries=2)
def second_try(self):
    if self.request.retries == 0:
        self.retry(countdown=0)
    return "second"

@outsourced.task(queue="q")
def broken():
    raise ValueError("as it must")

@outsourced.task(queue="q")
def parent():
    child = add.delay(1, 2)
    path = outsourced.current_job.workdir / "note.txt"
    path.write_text("written")
    outsourced.current_job.save_file(path)
    return child.id
"""

#: task and arguments, and in which state it ends
JOBS = (
    ("chores.add", "[1, 2]", "completed"),
    ("chores.second_try", "[]", "completed"),
    ("chores.broken", "[]", "failed"),
    ("chores.parent", "[]", "completed"),
)


class Version:
    """An environment with one version of outsourced, server and worker."""

    def __init__(self, folder: Path, wheel: Path, lock: Path) -> None:
        self.python = folder / "bin/python"
        venv.create(folder, with_pip=True)
        # as locked, but only what the server needs; pip wants no hashes beside a local wheel
        constraints = folder / "constraints.txt"
        constraints.write_text(re.sub(r" \\\n(\s+--hash=\S+( \\\n)?)+", "\n", lock.read_text()))
        pip = [self.python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        wanted = f"outsourced[server,postgres] @ {wheel.as_uri()}"
        subprocess.run([*pip, "--constraint", str(constraints), wanted, "gunicorn"], check=True)

    def says(self) -> str:
        """Its version."""
        ask = "import importlib.metadata as m; print(m.version('outsourced'))"
        return subprocess.check_output([self.python, "-I", "-c", ask], text=True).strip()


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no history to take the last release from: {done.stderr.strip()}")
    return done.stdout.strip()


@pytest.fixture(scope="module")
def last_release(tmp_path_factory: pytest.TempPathFactory) -> Version:
    tags = git("tag", "--list", "v*", "--sort=-version:refname").split()
    folder = tmp_path_factory.mktemp("last")
    source = folder / "source"
    source.mkdir()
    archive = folder / "source.tar"
    git("archive", "--output", str(archive), tags[0] if tags else "HEAD")
    subprocess.run(["tar", "-xf", archive, "-C", source], check=True)
    if not tags:
        project = source / "pyproject.toml"
        project.write_text(
            re.sub(r'^version = ".*"', f'version = "{STAND_IN}"', project.read_text(), flags=re.M)
        )
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return Version(folder / "venv", wheel, source / "requirements-dev.txt")


@pytest.fixture(scope="module")
def this_version(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Version:
    return Version(tmp_path_factory.mktemp("this") / "venv", wheel, ROOT / "requirements-dev.txt")


class Site:
    """A server of one version, where workers of any version may come and work."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        (folder / "app.py").write_text(APP)
        (folder / "chores.py").write_text(CHORES)
        self._reserved = reserve_port()
        self._port = int(self._reserved.getsockname()[1])
        self._server: Process | None = None
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(folder),
            "OUTSOURCED_DATABASE_URL": database_url,
            "OUTSOURCED_PROMOTE_INTERVAL": "100ms",
        }

    def set_up(self, version: Version) -> None:
        for line in (
            ["init", f"http://127.0.0.1:{self._port}/outsourced"],
            ["worker", "create", "w"],
            ["queue", "create", "q"],
            ["queue", "hire", "w"],
            ["worker", "config", "-o", "w.yml", "w"],
        ):
            self.flask(version, *line)

    def flask(self, version: Version, *words: str) -> str:
        return self._run(version, "-m", "flask", "outsourcer", *words)

    def _run(self, version: Version, *words: str) -> str:
        done = subprocess.run(
            [version.python, *words],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def serve(self, version: Version) -> None:
        """Starts the server, or another in its place."""
        self.end()
        self._server = Process(
            "server",
            [version.python, *GUNICORN, "--bind", f"127.0.0.1:{self._port}", "app:app"],
            folder=self.folder,
            environment=self._environment,
            log=self.folder / "server.log",
        )
        self._server.start()
        wait_until(lambda: answers(self._port))

    def work(self, server: Version, worker: Version) -> None:
        """Enqueues one of each job, and has a worker do them; each must end as it should."""
        ids = [
            json.loads(self.flask(server, "job", "enqueue", task, arguments, "--json"))["id"]
            for task, arguments, _ in JOBS
        ]

        def states() -> list[str]:
            self._run(worker, "-m", "outsourced_worker.cli", "w.yml", "--burst", "-c", "1")
            jobs: list[dict[str, Any]] = json.loads(self.flask(server, "job", "list", "--json"))
            assert {job["state"] for job in jobs} <= {"completed", "failed", "retrying", "unassigned"}
            found = {job["id"]: job["state"] for job in jobs}
            return [found[each] for each in ids]

        wait_until(lambda: states() == [state for _, _, state in JOBS], PATIENCE)
        told = self.flask(server, "job", "history", ids[2])
        assert "as it must" in told

    def end(self) -> None:
        if self._server is not None:
            self._server.end()
            self._server = None

    def close(self) -> None:
        self.end()
        self._reserved.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    yield site
    site.close()


def test_both_are_what_they_should_be(last_release: Version, this_version: Version) -> None:
    assert this_version.says() == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", last_release.says())


def test_worker_of_the_last_release_works_on_this_server(
    site: Site, last_release: Version, this_version: Version
) -> None:
    site.set_up(this_version)
    site.serve(this_version)
    site.work(this_version, last_release)


def test_this_worker_works_on_a_server_of_the_last_release(
    site: Site, last_release: Version, this_version: Version
) -> None:
    site.set_up(last_release)
    site.serve(last_release)
    site.work(last_release, this_version)


def test_server_of_the_last_release_goes_on_while_the_tables_are_upgraded(
    site: Site, last_release: Version, this_version: Version
) -> None:
    site.set_up(last_release)
    site.serve(last_release)
    site.work(last_release, last_release)
    # the order of an upgrade: the tables, then the servers, then the workers
    site.flask(this_version, "db", "upgrade")
    site.work(last_release, last_release)
    site.serve(this_version)
    site.flask(this_version, "db", "check")
    site.work(this_version, last_release)
    site.work(this_version, this_version)
