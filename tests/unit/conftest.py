"""A producer in memory in force, and tasks run as a worker would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from outsourced import backend
from outsourced.execution import execute
from outsourced.records import Lease, Outcome
from outsourced.registry import registry
from outsourced.tasks import Task
from tests.unit.memory import MemoryFiles, Producer, lease_of


@pytest.fixture
def producer() -> Iterator[Producer]:
    producer = Producer()
    with backend.use(producer):
        yield producer


@pytest.fixture(autouse=True)
def _forget_tasks(forget_tasks: None) -> None:
    """No test sees another's tasks, nor those of other folders' modules, which may have the same names."""
    ours = {
        name: task for name, task in registry._tasks.items() if not task.__module__.startswith("tests.worker")
    }
    registry._tasks = ours


@pytest.fixture
def files() -> MemoryFiles:
    return MemoryFiles()


@pytest.fixture
def run(files: MemoryFiles) -> Callable[..., Outcome]:
    """Runs a call of a task as a worker would; keyword arguments change the lease."""

    def run(task: Task[..., Any], *args: Any, **changes: Any) -> Outcome:
        lease: Lease = lease_of(task.new_job(args), **changes)
        return execute(lease, registry, files)

    return run
