"""Bugs put into a copy of the package are found by the checker, each under the name of what it breaks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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


def param(seed: Seed, name: str) -> object:
    marks = [pytest.mark.postgres] if seed.database == "postgresql" else []
    return pytest.param(seed, marks=marks, id=name)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package as it is."""
    return copy_package(tmp_path_factory.mktemp("pristine"))


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


def violations(seed: Seed, package: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """What the checker finds after the seed's workload, by invariant, with the package at that place."""
    url = request.getfixturevalue("postgres_url" if seed.database == "postgresql" else "sqlite_url")
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-m", "tests.seeded.workloads", seed.workload, url],
        cwd=package,
        env=os.environ | {"PYTHONPATH": f"{package}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert Path(found["package"]).is_relative_to(package)
    reported: dict[str, str] = found["violations"]
    return reported


def test_each_workload_has_its_bug() -> None:
    assert sorted(seed.workload for seed in SEEDS) == sorted(WORKLOADS)


@pytest.mark.parametrize("seed", [param(seed, seed.workload) for seed in SEEDS])
def test_workload_is_clean_without_its_bug(
    seed: Seed, pristine: Path, request: pytest.FixtureRequest
) -> None:
    assert violations(seed, pristine, request) == {}


@pytest.mark.parametrize("seed", [param(seed, seed.file.stem) for seed in SEEDS])
def test_checker_reports_the_bug(seed: Seed, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    package = copy_package(tmp_path / "patched")
    apply(seed.file, package)
    assert seed.invariant in violations(seed, package, request)
