"""The progress of a survey: a live bar in a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from outsourced.states import TERMINAL, State

#: seconds between two lines where there is no terminal
LINE_INTERVAL = 5.0


class Bar:
    """How many of `total` jobs are enqueued, at work and ended."""

    def __init__(self, console: Console, *, total: int) -> None:
        self._console = console
        self._total = total
        self._enqueued = 0
        self._printed_at = time.monotonic()
        self.ended = 0
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
            TextColumn("[dim]{task.fields[detail]}"),
            TimeElapsedColumn(),
            TextColumn("[dim]left"),
            TimeRemainingColumn(),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("surveyed", total=total, detail="")

    def __enter__(self) -> Self:
        self._progress.start()
        if not self._console.is_terminal:
            self._console.print(f"surveying {self._total:,} files")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @property
    def is_full(self) -> bool:
        """Whether every job has ended."""
        return self.ended >= self._total

    def show(self, states: Mapping[State, int], *, enqueued: int | None = None) -> None:
        """Takes in how many jobs there are of each state."""
        self._enqueued = self._enqueued if enqueued is None else enqueued
        self.ended = sum(count for state, count in states.items() if state in TERMINAL)
        detail = self._detail(states)
        self._progress.update(self._task, completed=self.ended, detail=detail)
        if not self._console.is_terminal and (self.is_full or self._is_time_for_a_line()):
            self._console.print(f"  {self.ended:>6,} of {self._total:,} surveyed; {detail}")

    def say(self, message: str) -> None:
        """A line of its own above the bar."""
        self._progress.console.print(f"[yellow]{message}")

    def _detail(self, states: Mapping[State, int]) -> str:
        working = states.get(State.ASSIGNED, 0) + states.get(State.WORKING, 0)
        parts = [f"{working} leased"]
        if self._enqueued < self._total:
            parts.insert(0, f"{self._enqueued:,} enqueued")
        if failed := states.get(State.FAILED, 0):
            parts.append(f"{failed} failed")
        return ", ".join(parts)

    def _is_time_for_a_line(self) -> bool:
        if time.monotonic() - self._printed_at < LINE_INTERVAL:
            return False
        self._printed_at = time.monotonic()
        return True
