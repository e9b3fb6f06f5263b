"""The host's own migrations: the real `flask db …` of a host app, in one database with our tables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import inspect, make_url, text

from outsourced.sql import migrate
from outsourced.sql.autogenerate import include_name
from outsourced.sql.database import Database

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = ROOT / "tests/acceptance/host"

pytestmark = pytest.mark.slow

Flask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def flask(tmp_path: Path, database_url: str) -> Flask:
    """Runs `flask …` of the shop, as one types it in its folder; it must succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTSOURCED_")}
    environment |= {
        "FLASK_APP": "shop",
        "HOST_INSTANCE": str(tmp_path / "instance"),
        "HOST_DATABASE_URL": _for_flask_sqlalchemy(database_url),
        "PYTHONPATH": os.pathsep.join([str(HOST), str(ROOT)]),
    }

    def flask(*words: str, habits: str = "factory", fails: bool = False) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "flask", *words],
            cwd=tmp_path,
            env=environment | {"HOST_HABITS": habits},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode != 0) is fails, done.stderr
        return done

    return flask


def _for_flask_sqlalchemy(url: str) -> str:
    # a host names its driver
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)


@pytest.fixture
def old_table(database: Database) -> None:
    """A table that no model of the host has."""
    database.write(lambda connection: connection.execute(text("CREATE TABLE old_orders (id INTEGER)")))


def drafted(folder: Path) -> str:
    """The latest migration that `flask db migrate` wrote."""
    versions = sorted((folder / "migrations/versions").glob("*.py"), key=lambda file: file.stat().st_mtime_ns)
    return versions[-1].read_text()


def table_names(database: Database) -> set[str]:
    return set(inspect(database.engine).get_table_names())


@pytest.mark.parametrize(
    "habits", ["migrate-first", "migrate-last", "factory filter", "migrate-first filter"]
)
def test_migrations_of_the_host_leave_our_tables_alone(
    flask: Flask, tmp_path: Path, database: Database, old_table: None, habits: str
) -> None:
    ours = table_names(database) - {"old_orders"}
    flask("db", "init", habits=habits)
    flask("db", "migrate", habits=habits)
    assert "create_table('customers'" in drafted(tmp_path)
    assert "outsourced" not in drafted(tmp_path)
    assert ("old_orders" in drafted(tmp_path)) is ("filter" not in habits)
    flask("db", "upgrade", habits=habits)
    assert {"customers", "alembic_version", *ours} <= table_names(database)
    flask("db", "check", habits=habits)
    flask("outsourcer", "db", "check", habits=habits)
    assert migrate.check(database) == migrate.head()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_filter_in_the_host_s_env_py_goes_before_ours(flask: Flask, tmp_path: Path) -> None:
    flask("db", "init")
    env = tmp_path / "migrations/env.py"
    mine = "from outsourced.models import include_name\n" + env.read_text().replace(
        "**conf_args", "include_name=include_name, **conf_args"
    )
    env.write_text(mine)
    flask("db", "migrate")
    assert "create_table('customers'" in drafted(tmp_path)
    assert "outsourced" not in drafted(tmp_path)


def test_include_name_is_for_alembic_alone_too() -> None:
    assert include_name("customers", "table", {})
    assert include_name("outsourced_id", "column", {"table_name": "customers"})
    assert not include_name("outsourced_jobs", "table", {})
    assert not include_name("outsourced_alembic_version", "table", {})


# --- one line for both -----------------------------------------------------------------------------------


@pytest.fixture
def adopted(flask: Flask, tmp_path: Path, database: Database) -> Flask:
    """The host has taken our line into its own, as docs/host.md says; the database is empty."""
    migrate.downgrade(database, "base")
    database.write(lambda connection: connection.execute(text("DROP TABLE outsourced_alembic_version")))
    flask("db", "init")
    ini = tmp_path / "migrations/alembic.ini"
    locations = f"{tmp_path / 'migrations/versions'}\n    {migrate.folder() / 'versions'}"
    ini.write_text(
        ini.read_text().replace(
            "[alembic]\n", f"[alembic]\npath_separator = newline\nversion_locations =\n    {locations}\n", 1
        )
    )
    flask(
        *("db", "revision", "-m", "shop", "--head", "base", "--branch-label", "shop"),
        *("--version-path", str(tmp_path / "migrations/versions")),
    )
    return flask


def test_host_may_take_our_line_into_its_own(adopted: Flask, database: Database) -> None:
    adopted("db", "upgrade", "heads")
    assert {"outsourced_jobs", "alembic_version"} <= table_names(database)
    # merged or not, our commands find the tables as they should be
    assert migrate.check(database) == migrate.head()
    assert "already" in adopted("outsourcer", "init", "https://shop.example.com/outsourced").stdout
    adopted("db", "merge", "heads", "-m", "one line")
    adopted("db", "upgrade")
    adopted("db", "migrate")
    adopted("db", "upgrade")
    assert "customers" in table_names(database)
    adopted("db", "check")
    assert migrate.check(database) == migrate.head()


def test_host_may_take_our_line_in_after_our_own_upgrade(adopted: Flask, database: Database) -> None:
    migrate.upgrade(database)
    adopted("db", "upgrade", "heads")
    assert migrate.check(database) == migrate.head()
    adopted("db", "downgrade", "outsourced@base")
    assert migrate.current(database) is None
    assert "outsourced_jobs" not in table_names(database)


def test_script_of_an_adopted_line_tells_our_commands_too(adopted: Flask, database: Database) -> None:
    script = adopted("db", "upgrade", "outsourced@head", "--sql").stdout
    assert "INSERT INTO outsourced_alembic_version (version_num) VALUES ('outsourced_0001')" in script
