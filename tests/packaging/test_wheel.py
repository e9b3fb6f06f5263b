"""What is in the wheel, and what is not."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def contents(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_wheel_holds_both_packages_and_their_types(contents: list[str]) -> None:
    assert {"outsourced/__init__.py", "outsourced/py.typed", "outsourced_worker/__init__.py"} <= set(contents)


def test_wheel_holds_the_migrations(contents: list[str]) -> None:
    assert "outsourced/migrations/env.py" in contents
    assert "outsourced/migrations/versions/0001_initial.py" in contents
    assert "outsourced/migrations/draft.py" not in contents


def test_wheel_holds_nothing_else(contents: list[str]) -> None:
    tops = {name.split("/")[0] for name in contents}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"outsourced", "outsourced_worker"}
    assert not [name for name in contents if "__pycache__" in name or "instance" in name.split("/")]


def test_wheel_requires_neither_flask_nor_sqlalchemy(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    required = [line for line in lines if line.startswith("Requires-Dist: ") and "extra ==" not in line]
    assert not [line for line in required if "flask" in line or "sqlalchemy" in line or "psycopg" in line]


def test_wheel_tells_flask_of_its_commands(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (names,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        assert "[flask.commands]" in archive.read(names).decode()
