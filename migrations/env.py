"""What Alembic runs around our migrations. Called through `outsourced.sql.migrate`, never by an alembic.ini.

`config.attributes` hold either the connection to work on, inside the caller's transaction, or for
`--sql` the name of the dialect to write for.
"""

from __future__ import annotations

from alembic import context

from outsourced.sql import bookkeeping as _bookkeeping  # noqa: F401 - fills the metadata
from outsourced.sql import models as _models  # noqa: F401 - likewise
from outsourced.sql.base import PREFIX, Base
from outsourced.sql.lineage import VERSION_TABLE


def include_name(name: str | None, kind: str, parents: object) -> bool:
    """Whether autogenerate may look at it: the host's tables are none of our business."""
    return kind != "table" or (name or "").startswith(PREFIX)


def include_object(thing: object, name: str | None, kind: str, reflected: bool, other: object) -> bool:  # noqa: FBT001
    """Whether autogenerate may compare it: `jobs` is keyed differently on SQLite, on purpose."""
    return (kind, name) not in {("column", "seq"), ("unique_constraint", "uq_outsourced_jobs_id")}


SETTINGS = {
    "target_metadata": Base.metadata,
    "version_table": VERSION_TABLE,
    "include_name": include_name,
    "include_object": include_object,
}

if context.is_offline_mode():
    context.configure(dialect_name=context.config.attributes["dialect"], literal_binds=True, **SETTINGS)
else:
    context.configure(connection=context.config.attributes["connection"], **SETTINGS)

with context.begin_transaction():
    context.run_migrations()
