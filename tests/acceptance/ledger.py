"""What really ran, by the lines that tasks wrote: the truth that the record is held against."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID


@dataclass(slots=True, kw_only=True)
class Run:
    """One execution of a job; times are readings of `time.monotonic()`, the same in all processes."""

    job_id: UUID
    lease_id: UUID
    pid: int
    worker_pid: int
    began: float
    ended: float | None = None


class Ledger:
    """The file that tasks append to, read on as it grows; safe to ask from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._runs: dict[UUID, Run] = {}
        self._read_to = 0
        self._lock = threading.Lock()

    def runs(self) -> list[Run]:
        """Every execution so far, in the order they began."""
        with self._lock, self.path.open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # being written just now
                self._read_to += len(line)
                self._note(json.loads(line))
            return list(self._runs.values())

    def running(self) -> list[Run]:
        """The executions without an end: they go on, or were killed."""
        return [run for run in self.runs() if run.ended is None]

    def of(self, job_id: UUID) -> list[Run]:
        """The executions of one job."""
        return [run for run in self.runs() if run.job_id == job_id]

    def counts(self) -> Counter[UUID]:
        """How often each job began."""
        return Counter(run.job_id for run in self.runs())

    def _note(self, line: dict[str, str | float]) -> None:
        lease_id = UUID(str(line["lease_id"]))
        if line["moment"] == "ended":
            self._runs[lease_id].ended = float(line["at"])
            return
        # a lease is one execution: a second one under it would be the worker's fault
        assert lease_id not in self._runs, f"lease {lease_id} was executed twice"
        self._runs[lease_id] = Run(
            job_id=UUID(str(line["job_id"])),
            lease_id=lease_id,
            pid=int(line["pid"]),
            worker_pid=int(line["worker_pid"]),
            began=float(line["at"]),
        )
