"""`make bench`: what the queue does in a second, over authenticated HTTP, on this machine.

Medians of interleaved rounds; every drained job's result and history is counted before a figure is
believed. Compare ratios of one run, not figures of two.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from sqlalchemy import func, select

from bench import tasks
from bench.app import create_app
from outsourced import enqueue_many
from outsourced.sql.backend import SqlBackend
from outsourced.sql.models import Job, JobResult, Transition
from tests.databases import PostgresTemplate, postgres_server

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PORT = 8931
URL = f"http://127.0.0.1:{PORT}/outsourced"
POOLS = {
    "solo": ["-P", "solo"],
    "threads": ["-P", "threads", "-c", "4"],
    "processes": ["-P", "processes", "-c", "2"],
}


def main() -> None:
    options = _options()
    for database in options.databases:
        with _database_url(database) as url, tempfile.TemporaryDirectory() as folder:
            os.environ |= {"OUTSOURCED_DATABASE_URL": url, "BENCH_INSTANCE": folder, "FLASK_APP": "bench.app"}
            Bench(Path(folder), options).run(database)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000, help="waiting before each drain")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--databases", nargs="+", default=["postgresql", "sqlite"])
    return parser.parse_args()


@contextmanager
def _database_url(name: str) -> Iterator[str]:
    if name == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/bench.sqlite"
        return
    with postgres_server() as server:
        template = PostgresTemplate(server)
        with template.copy() as url:
            yield url
        template.drop()


class Bench:
    """One server on one database, and workers that come and go."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder = folder
        self._options = options
        self._figures: dict[str, list[float]] = {}
        self._seen = 0

    def run(self, name: str) -> None:
        for line in (
            ["init", URL],
            ["worker", "create", "w"],
            ["queue", "create", "q"],
            ["queue", "hire", "w"],
            ["worker", "config", "-o", str(self._folder / "outsourced.yml"), "--include", "bench.tasks", "w"],
        ):
            subprocess.run([BIN / "flask", "outsourcer", *line], check=True, cwd=ROOT, capture_output=True)
        app = create_app()
        with app.app_context(), self._server() as server:
            backend: SqlBackend = app.extensions["outsourced"].backend
            for _ in range(self._options.rounds):
                self._round(backend, server)
        print(f"\n{name}: medians of {self._options.rounds} rounds, {self._options.jobs:,} jobs a drain")
        for figure, values in self._figures.items():
            print(f"  {figure:<44}{statistics.median(values):>12,.1f}")

    def _round(self, backend: SqlBackend, server: psutil.Process) -> None:
        self._enqueue_single()
        for pool, options in POOLS.items():
            self._fill()
            with self._worker(options) as worker:
                self._drain(backend, pool, server, worker)
        with self._worker(POOLS["threads"]):
            self._pickup()
        self._seen += 200

    def _enqueue_single(self) -> None:
        seconds = _timed(lambda: [tasks.nothing.delay(number) for number in range(500)])
        self._note("enqueue one at a time, jobs/s", 500 / seconds)
        self._waiting = 500

    def _fill(self) -> None:
        count = self._options.jobs - self._waiting
        calls = [(tasks.nothing, (number,)) for number in range(count)]
        seconds = _timed(lambda: enqueue_many(calls))
        self._note("enqueue_many, jobs/s", count / seconds)
        self._waiting = self._options.jobs

    def _drain(self, backend: SqlBackend, pool: str, server: psutil.Process, worker: psutil.Process) -> None:
        """From the first job begun to the last one recorded; the worker's start is not counted."""
        total = self._seen + self._options.jobs
        first = _await(lambda: _count(backend) > self._seen)
        cpu = _cpu(server) + _cpu(worker)
        done_first = _count(backend)
        last = _await(lambda: _count(backend) >= total)
        spent = _cpu(server) + _cpu(worker) - cpu
        jobs = total - done_first
        self._seen, self._waiting = total, 0
        _believe(backend, total)
        self._note(f"drain, {pool}, jobs/s", jobs / (last - first))
        self._note(f"drain, {pool}, server + worker CPU µs a job", spent / jobs * 1e6)

    def _pickup(self) -> None:
        waits = []
        for _ in range(200):
            result = tasks.begun.delay(time.time())
            waits.append(result.get(timeout=10) * 1000)
            time.sleep(0.01)
        waits.sort()
        self._note("pickup of an idle worker, p50 ms", waits[len(waits) // 2])
        self._note("pickup of an idle worker, p99 ms", waits[int(len(waits) * 0.99)])

    def _note(self, figure: str, value: float) -> None:
        self._figures.setdefault(figure, []).append(value)

    @contextmanager
    def _server(self) -> Iterator[psutil.Process]:
        gunicorn = [BIN / "gunicorn", "-k", "gthread", "--threads", "12", "--keep-alive", "75"]
        command = [*gunicorn, "-b", f"127.0.0.1:{PORT}", "bench.app:create_app()"]
        with _process(command, self._folder / "server.log") as process:
            yield process

    @contextmanager
    def _worker(self, options: list[str]) -> Iterator[psutil.Process]:
        command = [BIN / "outsourced_worker", self._folder / "outsourced.yml", *options]
        with _process(command, self._folder / "worker.log") as process:
            yield process


@contextmanager
def _process(command: list[object], log: Path) -> Iterator[psutil.Process]:
    with log.open("ab") as output:
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=output, stderr=output)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _await(ready: Callable[[], bool], timeout: float = 120) -> float:
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise SystemExit("the worker does not get on: see its log")
        time.sleep(0.05)
    return time.perf_counter()


def _count(backend: SqlBackend) -> int:
    with backend.database.connect() as connection:
        return connection.scalar(select(func.count()).select_from(JobResult)) or 0


def _believe(backend: SqlBackend, total: int) -> None:
    """Every job completed, with its result and exactly three rows of history."""
    with backend.database.connect() as connection:
        ended = connection.scalar(select(func.count()).where(Job.state == "completed"))
        rows = connection.scalar(
            select(func.count()).where(Transition.event.in_(("enqueue", "claim", "complete")))
        )
    if ended != total or rows != 3 * total:
        raise SystemExit(f"{total} jobs should have ended, {ended} did, with {rows} rows of history")


def _cpu(process: psutil.Process) -> float:
    """Seconds of CPU of a process and its children."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        times = one.cpu_times()
        total += times.user + times.system
    return total


if __name__ == "__main__":
    main()
