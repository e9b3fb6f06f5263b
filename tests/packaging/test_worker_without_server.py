"""outsourced on a remote machine: the wheel without the `server` extra."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT, Installation

pytestmark = pytest.mark.slow


def python(installation: Installation, folder: Path, code: str) -> str:
    """What the code prints, in the bare installation."""
    done = installation.run(installation.python, "-W", "error", "-c", code, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_worker_tells_its_version(bare_installation: Installation, tmp_path: Path) -> None:
    done = bare_installation.run(bare_installation.worker, "--version", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version in done.stdout


def test_worker_without_configuration_says_where_it_looked(
    bare_installation: Installation, tmp_path: Path
) -> None:
    done = bare_installation.run(bare_installation.worker, "--check", folder=tmp_path)
    assert done.returncode == 2
    assert "no configuration found" in done.stderr
    assert "flask outsourcer worker config" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("package", ["flask", "flask_sqlalchemy", "sqlalchemy", "alembic", "psycopg"])
def test_bare_installation_lacks_the_servers_packages(
    bare_installation: Installation, tmp_path: Path, package: str
) -> None:
    code = f"import importlib.util; print(importlib.util.find_spec({package!r}))"
    assert python(bare_installation, tmp_path, code) == "None"


@pytest.mark.parametrize("name", ["bp", "Outsourced"])
def test_server_name_raises_missing_extra(bare_installation: Installation, tmp_path: Path, name: str) -> None:
    code = f"""
import outsourced
try:
    outsourced.{name}
except outsourced.MissingExtra as error:
    print(isinstance(error, ImportError), error)
"""
    told = python(bare_installation, tmp_path, code)
    assert told.startswith("True")
    assert "pip install 'outsourced[server]'" in told


def test_models_raise_missing_extra(bare_installation: Installation, tmp_path: Path) -> None:
    code = """
import outsourced
try:
    import outsourced.models
except outsourced.MissingExtra as error:
    print(error)
"""
    assert "outsourced[server]" in python(bare_installation, tmp_path, code)


def test_task_is_defined_and_called_without_a_server(bare_installation: Installation, tmp_path: Path) -> None:
    code = """
import outsourced

@outsourced.task
def add(x, y):
    return x + y

print(add(1, 2), add.name)
"""
    assert python(bare_installation, tmp_path, code).split()[0] == "3"
