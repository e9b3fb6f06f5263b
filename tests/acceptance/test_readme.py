"""README's five minutes, word for word: its files are written, its lines typed, on one machine."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from outsourced.sql import migrate
from outsourced.sql.database import Database
from tests.acceptance.conftest import needs_worker
from tests.acceptance.deployment import ROOT, WORKER, answers, reserve_port
from tests.acceptance.process import Process
from tests.acceptance.waiting import wait_until

pytestmark = [pytest.mark.slow, needs_worker]

README = (ROOT / "README.md").read_text()
SECTION = README[README.index("## Five minutes, two machines") : README.index("## Who decides")]
BLOCKS = [dedent(block).strip() + "\n" for block in re.findall(r"(?:^ {4}.*\n|^\n)+", SECTION, re.MULTILINE)]
ADDRESS = "https://app.example.com/outsourced"


def block_with(text: str) -> str:
    """The only block of the section that has this in it."""
    (block,) = (block for block in BLOCKS if text in block)
    return block


class Newcomer:
    """Somebody who types what README says, in a folder for each machine."""

    def __init__(self, folder: Path, database_url: str, port: int) -> None:
        self.server, self.elsewhere = folder / "server", folder / "elsewhere"
        self._url = f"http://127.0.0.1:{port}/outsourced"
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{WORKER.parent}{os.pathsep}/usr/bin:/bin",
            "HOME": str(folder),
            "OUTSOURCED_DATABASE_URL": database_url,
        }
        for place in (self.server, self.elsewhere):
            place.mkdir()
            (place / "myapp_tasks.py").write_text(block_with("return x + y"))
        (self.server / "app.py").write_text(block_with("register_blueprint"))
        self.serving = Process(
            "server",
            [Path(sys.executable).parent / "flask", "run", "--port", str(port)],
            folder=self.server,
            environment=self._environment,
            log=folder / "server.log",
        )

    def type(self, line: str, folder: Path) -> str:
        """Types a line; gives what it printed."""
        command = shlex.split(line.replace(ADDRESS, self._url))
        done = subprocess.run(
            command,
            cwd=folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert "Warning" not in done.stderr, f"{line}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def newcomer(tmp_path: Path, database_url: str) -> Iterator[Newcomer]:
    database = Database(database_url)
    migrate.downgrade(database, "base")
    database.dispose()
    with reserve_port() as reserved:
        port = reserved.getsockname()[1]
        newcomer = Newcomer(tmp_path, database_url, port)
        for line in block_with("outsourcer init").splitlines():
            newcomer.type(line, newcomer.server)
        newcomer.serving.start()
        wait_until(lambda: answers(port))
        yield newcomer
        newcomer.serving.end()


def test_readme_s_five_minutes_run_a_job_elsewhere(newcomer: Newcomer) -> None:
    (newcomer.server / "foo.yml").rename(newcomer.elsewhere / "foo.yml")
    enqueue, listing = block_with("job enqueue").splitlines()
    newcomer.type(enqueue, newcomer.server)
    assert "unassigned" in newcomer.type(listing, newcomer.server)
    (work,) = block_with("outsourced_worker foo.yml").splitlines()
    newcomer.type(f"{work} --check", newcomer.elsewhere)
    newcomer.type(f"{work} --once", newcomer.elsewhere)
    assert "completed" in newcomer.type(listing, newcomer.server)
