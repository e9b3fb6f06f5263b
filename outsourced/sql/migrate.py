"""The tables' versions: our own Alembic line, in a version table of its own, beside the host's.

Safe to run twice, and by two processes at once: a run is one transaction, under an advisory lock on
PostgreSQL and BEGIN IMMEDIATE on SQLite. Migrations are found in the installed package, else in the
checkout.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from outsourced.errors import ConfigurationError, SchemaOutdated
from outsourced.sql.database import Database
from outsourced.sql.lineage import VERSION_TABLE

Command = Callable[[Config], None]

#: Alembic's context is one a process
_alembic = threading.Lock()

#: the advisory lock of whoever changes the tables
_LOCK = 0x0D5_0000_0000


def upgrade(database: Database, revision: str = "head") -> str | None:
    """Brings the tables to this version's form; gives the revision they were at before."""
    return database.write(lambda connection: _upgrade_locked(connection, revision))


def downgrade(database: Database, revision: str = "-1") -> str | None:
    """Takes the tables back to an earlier form, losing what only the later one holds; likewise."""

    def work(connection: Connection) -> str | None:
        _lock(connection)
        before = _revision_of(connection)
        _run(lambda config: command.downgrade(config, revision), config_on(connection))
        return before

    return database.write(work)


def current(database: Database) -> str | None:
    """The revision the tables are at; None where there are none."""
    with database.connect() as connection:
        return _revision_of(connection)


def head() -> str:
    """The revision this version of the package needs."""
    found = _scripts().get_current_head()
    assert found is not None  # 0001 is part of the package
    return found


def check(database: Database) -> str:
    """The revision, when it is the one this version needs; raises SchemaOutdated otherwise."""
    found = current(database)
    if found != head():
        raise SchemaOutdated(
            f"the tables are at revision {found or 'none'}, this version needs {head()}: "
            "run `flask outsourcer db upgrade`"
        )
    return found


def upgrade_script(database: Database, revision: str = "head") -> str:
    """The SQL that `upgrade` would run on this database, from where it stands."""
    start = current(database) or "base"
    return _script(database, lambda config: command.upgrade(config, f"{start}:{revision}", sql=True))


def downgrade_script(database: Database, revision: str) -> str:
    """The SQL that `downgrade` would run on this database, from where it stands."""
    start = current(database) or "base"
    return _script(database, lambda config: command.downgrade(config, f"{start}:{revision}", sql=True))


def upgrade_connection(connection: Connection, revision: str = "head") -> None:
    """Upgrades inside the caller's transaction."""
    _run(lambda config: command.upgrade(config, revision), config_on(connection))


def _upgrade_locked(connection: Connection, revision: str) -> str | None:
    _lock(connection)
    before = _revision_of(connection)
    upgrade_connection(connection, revision)
    return before


def _lock(connection: Connection) -> None:
    """Waits for whoever else changes the tables; on SQLite, BEGIN IMMEDIATE has done so."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _revision_of(connection: Connection) -> str | None:
    return MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE}
    ).get_current_revision()


def folder() -> Path:
    """Where the migrations are: in the installed package, else in the checkout."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "migrations", package.parent / "migrations"):
        if (candidate / "env.py").is_file():
            return candidate
    raise ConfigurationError(
        "the migrations are missing from this installation of outsourced: install it anew"
    )


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(config_on(None))


def config_on(connection: Connection | None) -> Config:
    """Alembic's configuration for our line, to work on this connection."""
    config = Config()
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _script(database: Database, write: Command) -> str:
    config = config_on(None)
    config.attributes["dialect"] = database.engine.dialect.name
    config.output_buffer = StringIO()
    _run(write, config)
    return config.output_buffer.getvalue()


def _run(action: Command, config: Config) -> None:
    try:
        with _alembic:
            action(config)
    except CommandError as error:
        raise ConfigurationError(
            f"the tables cannot be taken there: {error}. A revision this version does not know "
            "is of a newer one: install that, or name one of `flask outsourcer db current`"
        ) from error
