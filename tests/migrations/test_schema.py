"""The tables that the migrations make are those the models describe, but for what is meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, inspect, make_url, text

from outsourced.sql import bookkeeping as _bookkeeping  # noqa: F401 - fills the metadata
from outsourced.sql import models as _models  # noqa: F401 - likewise
from outsourced.sql.base import Base
from outsourced.sql.database import Database
from outsourced.sql.lineage import VERSION_TABLE

Shape = dict[str, dict[str, Any]]


def shape_of(engine: Engine) -> Shape:
    """Every table with its columns, keys, indexes with predicates, and constraints."""
    inspector = inspect(engine)
    return {
        table: {
            "columns": {
                column["name"]: (str(column["type"]), column["nullable"], column.get("identity") is not None)
                for column in inspector.get_columns(table)
            },
            "primary key": inspector.get_pk_constraint(table)["constrained_columns"],
            "indexes": {
                index["name"]: (tuple(index["column_names"]), bool(index["unique"]), predicate_of(index))
                for index in inspector.get_indexes(table)
                if not index.get("duplicates_constraint")
            },
            "unique": {
                unique["name"]: unique["column_names"] for unique in inspector.get_unique_constraints(table)
            },
            "foreign keys": {
                key["name"]: (key["constrained_columns"], key["referred_table"], key["options"])
                for key in inspector.get_foreign_keys(table)
            },
            "checks": {check["name"]: check["sqltext"] for check in inspector.get_check_constraints(table)},
        }
        for table in inspector.get_table_names()
        if table != VERSION_TABLE
    }


def predicate_of(index: Any) -> str | None:
    options = index.get("dialect_options", {})
    where = options.get("postgresql_where", options.get("sqlite_where"))
    return None if where is None else re.sub(r"\s+", " ", str(where))


@pytest.fixture
def modelled(database: Database, tmp_path: Path) -> Iterator[Engine]:
    """A database with the tables as the models have them, beside the migrated one."""
    if database.dialect.name == "sqlite":
        engine = create_engine(f"sqlite:///{tmp_path / 'modelled.sqlite'}")
    else:
        url = make_url(str(database.engine.url)).set(password=database.engine.url.password)
        with database.engine.connect() as connection:
            connection.execute(text("CREATE SCHEMA modelled"))
        engine = create_engine(url, connect_args={"options": "-c search_path=modelled"})
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def test_migrated_tables_are_those_of_the_models(database: Database, modelled: Engine) -> None:
    migrated, expected = shape_of(database.engine), shape_of(modelled)
    if database.dialect.name == "sqlite":
        # the rows of jobs are kept in the order of seq: see 0001_initial
        jobs = expected["outsourced_jobs"]
        jobs["primary key"] = ["seq"]
        jobs["columns"]["seq"] = ("INTEGER", False, False)
        jobs["unique"]["uq_outsourced_jobs_id"] = ["id"]
    assert migrated.keys() == expected.keys()
    for table, shape in expected.items():
        assert migrated[table] == shape, table


def test_seq_of_sqlite_is_never_used_twice(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with database.connect() as connection:
        sql = connection.scalar(text("SELECT sql FROM sqlite_master WHERE name = 'outsourced_jobs'"))
    database.dispose()
    assert "seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT" in sql


def test_history_of_sqlite_has_no_row_ids(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with database.connect() as connection:
        sql = connection.scalar(text("SELECT sql FROM sqlite_master WHERE name = 'outsourced_history'"))
    database.dispose()
    assert "WITHOUT ROWID" in sql


@pytest.mark.postgres
def test_seq_of_postgresql_has_no_index_of_its_own(postgres_url: str) -> None:
    database = Database(postgres_url)
    indexes = inspect(database.engine).get_indexes("outsourced_jobs")
    database.dispose()
    assert not [index["name"] for index in indexes if index["column_names"] == ["seq"]]


@pytest.mark.postgres
def test_postgresql_vacuums_jobs_by_count(postgres_url: str) -> None:
    database = Database(postgres_url)
    with database.connect() as connection:
        options = connection.scalar(
            text("SELECT reloptions FROM pg_class WHERE relname = 'outsourced_jobs' AND relkind = 'r'")
        )
    database.dispose()
    assert set(options) == {
        "autovacuum_vacuum_scale_factor=0",
        "autovacuum_vacuum_threshold=5000",
        "autovacuum_vacuum_cost_delay=0",
        "autovacuum_analyze_scale_factor=0",
        "autovacuum_analyze_threshold=50000",
    }
