"""One of our migrations, run in our own Alembic line or in that of a host who took ours in as a branch.

Either way `outsourced_alembic_version` tells where the tables are, so both kinds of upgrade, ours and
the host's, find what the other has done.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from alembic import op
from sqlalchemy import Column, MetaData, String, Table

from outsourced.sql.base import PREFIX

VERSION_TABLE = PREFIX + "alembic_version"

Change = Callable[[], None]

_versions = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))


def upgrades_to(revision: str) -> Callable[[Change], Change]:
    """Decorates a migration's `upgrade()`: in a host's line it is noted, and skipped where it was done."""

    def decorate(change: Change) -> Change:
        @wraps(change)
        def run() -> None:
            if _in_our_line():
                change()
            elif not _is_done(revision):
                change()
                _note(revision)

        return run

    return decorate


def downgrades_to(revision: str | None) -> Callable[[Change], Change]:
    """Decorates a migration's `downgrade()`, with the revision it leads to; None: to no tables at all."""

    def decorate(change: Change) -> Change:
        @wraps(change)
        def run() -> None:
            change()
            if not _in_our_line():
                _note(revision)

        return run

    return decorate


def _in_our_line() -> bool:
    return bool(op.get_context().version_table == VERSION_TABLE)


def _is_done(revision: str) -> bool:
    """Whether our own upgrade got there first: revisions are numbered, so the later one sorts behind."""
    if op.get_context().as_sql:
        return False
    _versions.create(op.get_bind(), checkfirst=True)
    return any(row.version_num >= revision for row in op.get_bind().execute(_versions.select()))


def _note(revision: str | None) -> None:
    if op.get_context().as_sql and revision is not None:
        op.execute(
            f"CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
        )
    op.execute(_versions.delete())
    if revision is not None:
        op.execute(_versions.insert().values(version_num=op.inline_literal(revision)))
