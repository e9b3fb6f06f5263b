"""Fixtures every test may use: a migrated database of its own, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from outsourced.registry import registry
from outsourced.sql.database import Database
from tests.databases import PostgresMissing, PostgresTemplate, SqliteTemplate, postgres_server

#: `required` makes a missing PostgreSQL a failure instead of a skip
POSTGRES_POLICY = os.environ.get("TEST_POSTGRES", "optional")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> SqliteTemplate:
    return SqliteTemplate(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[PostgresTemplate]:
    try:
        with postgres_server() as server:
            template = PostgresTemplate(server)
            yield template
            template.drop()
    except PostgresMissing as missing:
        if POSTGRES_POLICY == "required":
            pytest.fail(f"TEST_POSTGRES=required, but {missing}", pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture
def sqlite_url(sqlite_template: SqliteTemplate, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated SQLite file of this test's own."""
    with sqlite_template.copy(tmp_path) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_template: PostgresTemplate) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database of this test's own."""
    with postgres_template.copy() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated database of this test's own; the test runs on each dialect."""
    fixture = "postgres_url" if request.param == "postgresql" else "sqlite_url"
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Our Database on a migrated database of this test's own; the test runs on each dialect."""
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def forget_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that the test defines are gone after it."""
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))


@pytest.fixture(autouse=True)
def _push_request_context() -> None:
    """Replaces pytest-flask's fixture of this name.

    That one keeps a request context pushed, so `g`, and with it the token of the request before,
    would survive into the next `client.get` of the test.
    """
