"""Bugs put into a copy of the package are found by the checker, each under the name of what it breaks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.seeded.workloads import WORKLOADS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

#: seconds a workload may take on a very busy machine
PATIENCE = 60


@dataclass(frozen=True)
class Seed:
    """A patch file: a header that says what it breaks and what shows it, then the difference."""

    file: Path
    invariant: str
    workload: str
    database: str

    @classmethod
    def read(cls, file: Path) -> Seed:
        header = file.read_text().partition("\n--- ")[0]
        told = dict(re.findall(r"^(\w+): (.+)$", header, re.MULTILINE))
        return cls(file, told["Invariant"], told["Workload"], told["Database"])


SEEDS = [Seed.read(file) for file in sorted(HERE.glob("*.patch"))]

MARKS: dict[str, Any] = {"sqlite": (), "postgresql": pytest.mark.postgres}
DIALECTS = [pytest.param(dialect, marks=marks) for dialect, marks in MARKS.items()]


def copy_package(folder: Path) -> Path:
    shutil.copytree(ROOT / "outsourced", folder / "outsourced", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def apply(patch: Path, folder: Path) -> None:
    """Applies the patch, to the letter: one that has gone stale is an error."""
    done = subprocess.run(
        ["git", "apply", "--verbose", "-p1", str(patch)],
        cwd=folder,
        env=os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)},  # no repository above counts
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{patch.name} no longer applies:\n{done.stderr}"


@contextmanager
def databases(dialect: str, number: int, request: pytest.FixtureRequest, folder: Path) -> Iterator[list[str]]:
    """The URLs of that many migrated databases."""
    template = request.getfixturevalue("postgres_template" if dialect == "postgresql" else "sqlite_template")
    with ExitStack() as stack:
        urls = []
        for one in range(number):
            place = folder / str(one)
            place.mkdir()
            copy = template.copy() if dialect == "postgresql" else template.copy(place)
            urls.append(stack.enter_context(copy))
        yield urls


def play(workloads: list[str], urls: list[str], package: Path) -> dict[str, dict[str, str]]:
    """What the checker finds after each workload, by invariant, with the package at that place."""
    words = [word for pair in zip(workloads, urls, strict=True) for word in pair]
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-m", "tests.seeded.workloads", *words],
        cwd=package,
        env=os.environ | {"PYTHONPATH": f"{package}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert Path(told["package"]).is_relative_to(package)
    found: dict[str, dict[str, str]] = told["found"]
    return found


def test_each_workload_has_its_bug() -> None:
    assert sorted(seed.workload for seed in SEEDS) == sorted(WORKLOADS)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_workloads_are_clean_without_bugs(
    dialect: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    workloads = [seed.workload for seed in SEEDS if seed.database == dialect]
    package = copy_package(tmp_path / "pristine")
    with databases(dialect, len(workloads), request, tmp_path) as urls:
        assert play(workloads, urls, package) == {workload: {} for workload in workloads}


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=MARKS[seed.database], id=seed.file.stem) for seed in SEEDS]
)
def test_checker_reports_the_bug(seed: Seed, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    package = copy_package(tmp_path / "patched")
    apply(seed.file, package)
    with databases(seed.database, 1, request, tmp_path) as urls:
        found = play([seed.workload], urls, package)
    assert seed.invariant in found[seed.workload]
