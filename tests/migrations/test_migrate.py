"""Up, down, twice, and by two processes at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from outsourced.errors import ConfigurationError, SchemaOutdated
from outsourced.sql import bookkeeping, migrate
from outsourced.sql import models as _models  # noqa: F401 - fills the metadata
from outsourced.sql.database import Database
from outsourced.sql.lineage import VERSION_TABLE

UPGRADE = """
import sys
from outsourced.sql import migrate
from outsourced.sql.database import Database
from outsourced.sql.lineage import VERSION_TABLE
print("ready", flush=True)
sys.stdin.readline()
print(migrate.upgrade(Database(sys.argv[1])))
"""


@pytest.fixture
def empty(database: Database) -> Database:
    """A database without any table of ours."""
    migrate.downgrade(database, "base")
    return database


def tables(database: Database) -> list[str]:
    names = inspect(database.engine).get_table_names()
    return [name for name in names if name.startswith("outsourced_") and name != VERSION_TABLE]


def test_upgrade_makes_the_tables(empty: Database) -> None:
    assert tables(empty) == []
    assert migrate.upgrade(empty) is None
    assert migrate.current(empty) == migrate.head()
    assert len(tables(empty)) == len(bookkeeping.Base.metadata.tables)


def test_upgrade_twice_does_nothing(database: Database) -> None:
    assert migrate.upgrade(database) == migrate.head()


def test_upgrade_leaves_other_tables_alone(empty: Database) -> None:
    with empty.connect() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("CREATE TABLE customers (id INTEGER)"))
    migrate.upgrade(empty)
    migrate.downgrade(empty, "base")
    assert {"alembic_version", "customers"} <= set(inspect(empty.engine).get_table_names())


def test_upgrade_by_two_processes_at_once_makes_the_tables_once(empty: Database) -> None:
    url = empty.engine.url.render_as_string(hide_password=False)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", UPGRADE, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(answers) == ["None", migrate.head()]


def test_downgrade_drops_the_tables(database: Database) -> None:
    assert migrate.downgrade(database, "base") == migrate.head()
    assert tables(database) == []


def test_a_failed_upgrade_leaves_nothing(empty: Database) -> None:
    with empty.connect() as connection:
        connection.execute(text("CREATE TABLE outsourced_duties (id INTEGER)"))
    with pytest.raises(Exception, match="exists"):
        migrate.upgrade(empty)
    assert tables(empty) == ["outsourced_duties"]
    assert migrate.current(empty) is None


def test_check_wants_the_newest_tables(empty: Database) -> None:
    with pytest.raises(SchemaOutdated, match="flask outsourcer db upgrade"):
        migrate.check(empty)
    migrate.upgrade(empty)
    assert migrate.check(empty) == migrate.head()


def test_upgrade_to_an_unknown_revision_says_so(database: Database) -> None:
    with pytest.raises(ConfigurationError, match="beef"):
        migrate.upgrade(database, "beef")


def test_upgrade_of_tables_from_a_newer_version_says_so(database: Database) -> None:
    with database.connect() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="newer"):
        migrate.upgrade(database)


def test_script_of_upgrade_makes_the_same_tables(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    script = migrate.upgrade_script(database)
    with database.connect() as connection:
        assert connection.connection.driver_connection is not None
        connection.connection.driver_connection.executescript(script)
    assert migrate.check(database) == migrate.head()
    assert len(tables(database)) == len(bookkeeping.Base.metadata.tables)
    database.dispose()


def test_script_of_downgrade_starts_where_the_tables_are(database: Database) -> None:
    assert "DROP TABLE outsourced_jobs" in migrate.downgrade_script(database, "base")
    assert "CREATE TABLE" not in migrate.upgrade_script(database)


def test_migrations_are_found_whatever_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (migrate.folder() / "versions" / "0001_initial.py").is_file()


def test_a_host_may_take_our_line_in_as_a_branch(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    host = tmp_path / "migrations"
    (host / "versions").mkdir(parents=True)
    (host / "env.py").write_text(HOST_ENV)
    config = Config()
    config.set_main_option("script_location", str(host))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", f"{host / 'versions'}\n{migrate.folder() / 'versions'}")
    engine = create_engine(f"sqlite:///{tmp_path / 'host.sqlite'}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "outsourced@head")
    names = inspect(engine).get_table_names()
    engine.dispose()
    assert {"alembic_version", "outsourced_jobs"} <= set(names)


HOST_ENV = """
from alembic import context
context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
"""
