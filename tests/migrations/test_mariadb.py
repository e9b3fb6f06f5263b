"""MariaDB is not served yet, but its tables can be made: 0001 must not have to change for it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, inspect, make_url, text
from sqlalchemy.exc import OperationalError

from outsourced.sql import migrate, models
from outsourced.sql.base import Base

pytest.importorskip("pymysql")

LOCAL_SERVER = "mariadb+pymysql://root@localhost/?unix_socket=/run/mysqld/mysqld.sock"


@pytest.fixture
def mariadb() -> Iterator[Engine]:
    """An empty database on MariaDB, dropped afterwards."""
    url = make_url(os.environ.get("TEST_MARIADB_URL", LOCAL_SERVER))
    admin = create_engine(url)
    name = f"outsourced_test_{os.getpid()}"
    try:
        with admin.begin() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except OperationalError as error:
        admin.dispose()
        pytest.skip(f"no MariaDB at {url}: {error.orig}")
    engine = create_engine(url.set(database=name))
    yield engine
    engine.dispose()
    with admin.begin() as connection:
        connection.execute(text(f"DROP DATABASE {name}"))
    admin.dispose()


@pytest.fixture
def migrated(mariadb: Engine) -> Engine:
    with mariadb.begin() as connection:
        migrate.upgrade_connection(connection)
    return mariadb


def test_upgrade_makes_the_columns_of_the_models(migrated: Engine) -> None:
    inspector = inspect(migrated)
    for table in Base.metadata.sorted_tables:
        columns = {column["name"]: column["nullable"] for column in inspector.get_columns(table.name)}
        assert columns == {column.name: column.nullable for column in table.columns}, table.name


def test_upgrade_makes_the_indexes_of_the_models(migrated: Engine) -> None:
    found = {index["name"] for index in inspect(migrated).get_indexes("outsourced_jobs")}
    assert {index.name for index in models.Job.__table__.indexes} <= found  # type: ignore[attr-defined]


def test_names_compare_byte_by_byte(migrated: Engine) -> None:
    with migrated.begin() as connection:
        for name in ("straße", "strasse", "Straße"):
            connection.execute(text("INSERT INTO outsourced_tasks (name) VALUES (:name)"), {"name": name})
        assert connection.scalar(text("SELECT count(*) FROM outsourced_tasks")) == 3


def test_seq_counts_by_itself(migrated: Engine) -> None:
    with migrated.connect() as connection:
        _, ddl = connection.execute(text("SHOW CREATE TABLE outsourced_jobs")).one()
    assert "`seq` bigint(20) NOT NULL AUTO_INCREMENT" in ddl
    assert "UNIQUE KEY `outsourced_jobs_live`" in ddl
