"""Drafts the next migration from what the models have and the migrations lack; a person finishes it.

Called by `make migration MESSAGE="what changes"`. Compared on SQLite, in a temporary file; the
differences that are meant (see 0001_initial) are left out.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from outsourced.sql import migrate
from outsourced.sql.base import PREFIX
from outsourced.sql.database import Database


def draft(message: str) -> None:
    """Writes versions/NNNN_message.py."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'draft.sqlite'}")
        migrate.upgrade(database)
        with database.engine.connect() as connection:
            number = f"{int(migrate.head().removeprefix(PREFIX)) + 1:04}"
            config = migrate.config_on(connection)
            config.set_main_option("file_template", f"{number}_%%(slug)s")
            command.revision(config, message, autogenerate=True, rev_id=PREFIX + number)
        database.dispose()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].strip():
        sys.exit('say what changes: make migration MESSAGE="…"')
    draft(sys.argv[1])
