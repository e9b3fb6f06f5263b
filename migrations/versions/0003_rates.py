"""Rate limits of tasks and of queues."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from outsourced.sql.lineage import downgrades_to, upgrades_to

revision = "outsourced_0003"
down_revision = "outsourced_0002"
branch_labels = None
depends_on = None

NAME = sa.String(255)
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
        "outsourced_rates",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=True),
        sa.Column("queue_id", sa.Integer(), nullable=True),
        sa.Column("declared", NAME, nullable=True),
        sa.Column("chosen", NAME, nullable=True),
        sa.Column("pace", sa.Double(), nullable=True),
        sa.Column("burst", sa.Integer(), nullable=False),
        sa.Column("next_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outsourced_rates"),
        sa.UniqueConstraint("task_id", name="uq_outsourced_rates_task_id"),
        sa.UniqueConstraint("queue_id", name="uq_outsourced_rates_queue_id"),
        **MARIADB,
    )
    for table in ("outsourced_queues", "outsourced_tasks"):
        op.add_column(table, sa.Column("rate_id", sa.Integer(), nullable=True))


@downgrades_to(down_revision)
def downgrade() -> None:
    for table in ("outsourced_tasks", "outsourced_queues"):
        op.drop_column(table, "rate_id")
    op.drop_table("outsourced_rates")
