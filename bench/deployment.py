"""Our side of a measurement: one server on one database, over authenticated HTTP, with everything on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from sqlalchemy import func, select

from bench.app import create_app
from bench.measuring import ROOT, process
from outsourced.sql.backend import SqlBackend
from outsourced.sql.models import Job, JobResult, Transition

BIN = Path(sys.executable).parent
PORT = 8931
URL = f"http://127.0.0.1:{PORT}/outsourced"
POOLS = {
    "solo": ["-P", "solo"],
    "threads": ["-P", "threads", "-c", "4"],
    "processes": ["-P", "processes", "-c", "2"],
}


class Deployment:
    """A server that runs, workers that come and go, and what the database says of their jobs."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder = folder
        os.environ |= {
            "OUTSOURCED_DATABASE_URL": database_url,
            "BENCH_INSTANCE": str(folder),
            "FLASK_APP": "bench.app",
        }
        for line in (
            ["init", URL],
            ["worker", "create", "w"],
            ["queue", "create", "q"],
            ["queue", "hire", "w"],
            ["worker", "config", "-o", str(folder / "outsourced.yml"), "--include", "bench.tasks", "w"],
        ):
            subprocess.run([BIN / "flask", "outsourcer", *line], check=True, cwd=ROOT, capture_output=True)
        self.app = create_app()
        self.backend: SqlBackend = self.app.extensions["outsourced"].backend

    @contextmanager
    def server(self) -> Iterator[psutil.Process]:
        """gunicorn, one process."""
        gunicorn = [BIN / "gunicorn", "-k", "gthread", "--threads", "12", "--keep-alive", "75"]
        command = [*gunicorn, "-b", f"127.0.0.1:{PORT}", "bench.app:create_app()"]
        with process(command, self._folder / "server.log") as server:
            yield server

    @contextmanager
    def worker(self, pool: str) -> Iterator[psutil.Process]:
        """One worker with this pool."""
        command = [BIN / "outsourced_worker", self._folder / "outsourced.yml", *POOLS[pool]]
        with process(command, self._folder / "worker.log") as worker:
            yield worker

    def recorded(self) -> int:
        """How many jobs have a result."""
        with self.backend.database.connect() as connection:
            return connection.scalar(select(func.count()).select_from(JobResult)) or 0

    def believe(self, total: int) -> None:
        """Ends the program unless so many jobs completed, once each, and their history tells it."""
        with self.backend.database.connect() as connection:
            ended = connection.scalar(select(func.count()).where(Job.state == "completed"))
            counted = select(Transition.event, func.count()).group_by(Transition.event)
            rows = dict(connection.execute(counted).tuples().all())
        # what a worker gives back unbegun is claimed again
        claims = rows.get("claim", 0) - rows.get("release", 0)
        if {ended, rows.get("enqueue"), rows.get("complete"), claims} != {total}:
            raise SystemExit(f"{total} jobs should have ended, {ended} did, with this history: {rows}")
