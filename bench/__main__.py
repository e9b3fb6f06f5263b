"""`make bench`: what the queue does in a second, over authenticated HTTP, on this machine.

Medians of interleaved rounds; every drained job's result and history is counted before a figure is
believed. Compare ratios of one run, not figures of two.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench import tasks
from bench.deployment import POOLS, Deployment
from bench.measuring import cpu, timed, wait_until
from outsourced import enqueue_many
from tests.databases import PostgresTemplate, postgres_server


def main() -> None:
    options = _options()
    for database in options.databases:
        with _database_url(database) as url, tempfile.TemporaryDirectory() as folder:
            Bench(Deployment(Path(folder), url), options).run(database)


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
    """What is measured of one deployment."""

    def __init__(self, deployment: Deployment, options: argparse.Namespace) -> None:
        self._deployment = deployment
        self._options = options
        self._figures: dict[str, list[float]] = {}
        self._seen = 0

    def run(self, name: str) -> None:
        with self._deployment.app.app_context(), self._deployment.server() as server:
            for _ in range(self._options.rounds):
                self._round(server)
        print(f"\n{name}: medians of {self._options.rounds} rounds, {self._options.jobs:,} jobs a drain")
        for figure, values in self._figures.items():
            print(f"  {figure:<44}{statistics.median(values):>12,.1f}")

    def _round(self, server: psutil.Process) -> None:
        self._enqueue_single()
        for pool in POOLS:
            self._fill()
            with self._deployment.worker(pool) as worker:
                self._drain(pool, server, worker)
        with self._deployment.worker("threads"):
            self._pickup()
        self._seen += 200

    def _enqueue_single(self) -> None:
        seconds = timed(lambda: [tasks.nothing.delay(number) for number in range(500)])
        self._note("enqueue one at a time, jobs/s", 500 / seconds)
        self._waiting = 500

    def _fill(self) -> None:
        count = self._options.jobs - self._waiting
        calls = [(tasks.nothing, (number,)) for number in range(count)]
        seconds = timed(lambda: enqueue_many(calls))
        self._note("enqueue_many, jobs/s", count / seconds)
        self._waiting = self._options.jobs

    def _drain(self, pool: str, server: psutil.Process, worker: psutil.Process) -> None:
        """From the first job begun to the last one recorded; the worker's start is not counted."""
        recorded, total = self._deployment.recorded, self._seen + self._options.jobs
        first = wait_until(lambda: recorded() > self._seen)
        before = cpu(server, worker)
        done_first = recorded()
        last = wait_until(lambda: recorded() >= total)
        spent = cpu(server, worker) - before
        jobs = total - done_first
        self._seen, self._waiting = total, 0
        self._deployment.believe(total)
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


if __name__ == "__main__":
    main()
