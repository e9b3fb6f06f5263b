"""Celery and outsourced, asked the same: states, results, exceptions, call counts and order must agree."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import outsourced
from outsourced import exceptions, result, signals
from outsourced.testing import MemoryBackend
from tests.celery import canvases, cases, replacing  # noqa: F401 - fills CASES
from tests.celery.api import CASES, Api, Case

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def reference() -> dict[str, Any]:
    """What Celery gave, by case and way of running."""
    if importlib.util.find_spec("celery") is None:
        pytest.skip("celery is not installed: `make install` brings it")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.celery.reference"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.fixture
def backend(forget_tasks: None) -> Iterator[MemoryBackend]:
    with MemoryBackend() as backend:
        yield backend


def ours(case: Case, settle: Callable[[], object], *, eager: bool) -> Any:
    """What the case gives here, as it would look in JSON."""
    number = CASES.index(case)

    def task(**options: Any) -> Callable[..., Any]:
        def make(function: Callable[..., Any]) -> Any:
            given = {"name": f"case{number}.{eager}.{function.__name__}"} | options
            return outsourced.task(**given)(function)

        return make

    api = Api(
        task,
        outsourced.Task,
        signals,
        exceptions,
        result,
        outsourced.group,
        outsourced,
        lambda: settle() and None,
        eager=eager,
    )
    return json.loads(json.dumps(case.build(api)()))


def compare(differs: str, expected: Any, found: Any) -> None:
    if differs:
        assert found != expected, f"they agree by now: {differs}"
    else:
        assert found == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_worker_does_as_celerys(case: Case, backend: MemoryBackend, reference: dict[str, Any]) -> None:
    differs = case.differs or case.worker_differs
    compare(differs, reference[f"{case.name}/worker"], ours(case, backend.drain, eager=False))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_worker_on_a_database_does_as_celerys(
    case: Case, work: Callable[[], None], reference: dict[str, Any]
) -> None:
    differs = case.differs or case.worker_differs
    compare(differs, reference[f"{case.name}/worker"], ours(case, work, eager=False))


@pytest.mark.parametrize("case", [case for case in CASES if case.eager], ids=lambda case: case.name)
def test_apply_does_as_celerys(case: Case, backend: MemoryBackend, reference: dict[str, Any]) -> None:
    compare(case.differs, reference[f"{case.name}/eager"], ours(case, backend.drain, eager=True))
