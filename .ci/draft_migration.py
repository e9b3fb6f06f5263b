"""Drafts a migration from how the models differ from the tables of PostgreSQL: read it before you commit it.

python .ci/draft_migration.py "what changes"
"""

from __future__ import annotations

import sys

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from outsourced.sql import migrate
from outsourced.sql.database import Database
from tests.databases import PostgresTemplate, postgres_server


def main(message: str) -> None:
    """Writes the next file of `migrations/versions/`."""
    config = Config()
    config.set_main_option("script_location", str(migrate.folder()))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    number = len(list(ScriptDirectory.from_config(config).walk_revisions())) + 1
    with postgres_server() as server:
        template = PostgresTemplate(server)
        database = Database(template.url)
        try:
            with database.connect() as connection:
                config.attributes["connection"] = connection
                command.revision(config, message, autogenerate=True, rev_id=f"{number:04d}")
        finally:
            database.dispose()
            template.drop()


if __name__ == "__main__":
    main(sys.argv[1])
