"""What tasks say of themselves, groups that are saved, and an index of what tasks enqueue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from outsourced.sql.lineage import downgrades_to, upgrades_to

revision = "outsourced_0002"
down_revision = "outsourced_0001"
branch_labels = None
depends_on = None

NAME = sa.String(255)
TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")

#: as in 0001
MARIADB = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in {"charset": "utf8mb4", "collate": "utf8mb4_bin", "engine": "InnoDB"}.items()
}


@upgrades_to(revision)
def upgrade() -> None:
    op.create_table(
        "outsourced_progress",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("lease_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("meta", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_outsourced_progress"),
        **MARIADB,
    )
    op.create_table(
        "outsourced_groups",
        sa.Column("scope", NAME, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("members", TEXT, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("scope", "id", name="pk_outsourced_groups"),
        **MARIADB,
    )
    op.create_index("ix_outsourced_groups_at", "outsourced_groups", ["at"])
    enqueued_by_tasks = sa.text("parent_id IS NOT NULL")
    op.create_index(
        "outsourced_jobs_parent",
        "outsourced_jobs",
        ["parent_id"],
        postgresql_where=enqueued_by_tasks,
        sqlite_where=enqueued_by_tasks,
    )


@downgrades_to(down_revision)
def downgrade() -> None:
    op.drop_index("outsourced_jobs_parent", table_name="outsourced_jobs")
    op.drop_table("outsourced_groups")
    op.drop_table("outsourced_progress")
