"""Those who run: each is filled with jobs, drained by two workers, and asked how far it is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import psutil

from bench import tasks
from bench.deployment import Deployment
from bench.measuring import ROOT, process, timed
from outsourced import enqueue_many

BIN = ROOT / ".venv-peers/bin"


class LeftOut(Exception):
    """A peer cannot run here; the message says why."""


class Contender(Protocol):
    """One queue, in one way of running it."""

    name: str

    def fill(self, single: int, bulk: int) -> Mapping[str, float | None]:
        """Enqueues so many one at a time, and so many at once; gives the seconds of each."""

    def workers(self) -> AbstractContextManager[list[psutil.Process]]:
        """Its workers, for the block's time, and whatever process of its own serves them."""

    def done(self) -> int:
        """How many jobs have ended since the beginning."""

    def settle(self) -> None:
        """Ends the program if more or fewer ran than were enqueued."""


class Ours:
    """outsourced over HTTP on PostgreSQL, with one pool."""

    def __init__(self, deployment: Deployment, server: psutil.Process, pool: str) -> None:
        self.name = f"outsourced, {pool}"
        self._deployment, self._server, self._pool = deployment, server, pool

    def fill(self, single: int, bulk: int) -> Mapping[str, float | None]:
        tasks.tallied.delay(0)
        return {
            "single": timed(lambda: [tasks.tallied.delay(number) for number in range(single - 1)]),
            "bulk": timed(lambda: enqueue_many([(tasks.tallied, (number,)) for number in range(bulk)])),
        }

    @contextmanager
    def workers(self) -> Iterator[list[psutil.Process]]:
        with self._deployment.worker(self._pool) as worker:
            yield [worker, self._server]

    def done(self) -> int:
        # recorded, which is later than run
        return self._deployment.recorded()

    def settle(self) -> None:
        self._deployment.believe(self.done())


class Peer:
    """Another queue, which lives in `.venv-peers` and is told what to do there; raises LeftOut."""

    def __init__(self, module: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.name = module.replace("_", ", ")
        self._module, self._folder = module, folder
        self._tally = folder / f"{module}.tally"
        self._tally.touch()
        self._environment = {**environment, "BENCH_TALLY": str(self._tally)}
        self._enqueued = 0
        prepared = self._run("prepare")
        if "left_out" in prepared:
            raise LeftOut(prepared["left_out"])
        self._workers: list[list[str]] = prepared["workers"]

    def fill(self, single: int, bulk: int) -> Mapping[str, float | None]:
        self._enqueued += single + bulk
        seconds: dict[str, float | None] = self._run("fill", single, bulk)
        return seconds

    @contextmanager
    def workers(self) -> Iterator[list[psutil.Process]]:
        log = self._folder / f"{self._module}.log"
        with ExitStack() as stack:
            yield [
                stack.enter_context(process([BIN / command, *options], log, self._environment))
                for command, *options in self._workers
            ]

    def done(self) -> int:
        return self._tally.stat().st_size

    def settle(self) -> None:
        if self.done() != self._enqueued:
            raise SystemExit(f"{self.name}: {self._enqueued} jobs were enqueued, {self.done()} ran")

    def clean(self) -> None:
        """Removes what it made."""
        self._run("clean")

    def _run(self, verb: str, *counts: int) -> Any:
        """The answer of `bench.peers.verb`."""
        command = [BIN / "python", "-m", "bench.peers.verb", self._module, verb, *map(str, counts)]
        done = subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{self.name} cannot {verb}:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout)
