"""The first tables.

Where the tables differ from the models, it is on purpose (docs/decisions/0001-tables.md): SQLite and
MariaDB keep `jobs` in the order of `seq`, PostgreSQL by `id`; MariaDB has no partial indexes; SQLite's
`history` has no row ids; PostgreSQL vacuums by count, not by a share of an ever growing table.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from outsourced.sql.lineage import downgrades_to, upgrades_to

revision = "outsourced_0001"
down_revision = None
branch_labels = ("outsourced",)
depends_on = None

NAME = sa.String(255)
TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
#: 64 bits everywhere; SQLite gives only INTEGER a row id of its own
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

#: names and keys compare byte by byte there too
MARIADB = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in {"charset": "utf8mb4", "collate": "utf8mb4_bin", "engine": "InnoDB"}.items()
}

#: jobs change state about three times each: by count, and at full speed
JOBS_AUTOVACUUM = (
    "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,"
    " autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000,"
    " autovacuum_vacuum_cost_delay = 0"
)
#: written once and deleted in batches, from tables that may be very large
SIDE_AUTOVACUUM = (
    "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,"
    " autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000"
)
SIDE_TABLES = ("edges", "history", "job_args", "job_results", "replies")


@upgrades_to(revision)
def upgrade() -> None:
    _create_installation()
    _create_queues()
    _create_accounts()
    _create_jobs()
    _create_job_parts()
    _create_records()
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE outsourced_jobs SET ({JOBS_AUTOVACUUM})")
        for table in SIDE_TABLES:
            op.execute(f"ALTER TABLE outsourced_{table} SET ({SIDE_AUTOVACUUM})")


@downgrades_to(down_revision)
def downgrade() -> None:
    for table in (
        "schedules", "duties", "audit", "replies", "endings", "listeners", "files", "history", "job_results",
        "job_args", "edges", "jobs", "instances", "credentials", "allowances", "hires", "accounts",
        "queue_tasks", "tasks", "queues", "installation",
    ):  # fmt: skip
        op.drop_table(f"outsourced_{table}")


def _create_table(name: str, *columns: sa.Column[Any] | sa.Constraint, **options: Any) -> None:
    op.create_table(f"outsourced_{name}", *columns, **MARIADB, **options)


def _primary_key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=f"pk_outsourced_{table}")


def _unique(table: str, column: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(column, name=f"uq_outsourced_{table}_{column}")


def _belongs_to(table: str, column: str, parent: str) -> sa.ForeignKeyConstraint:
    name = f"fk_outsourced_{table}_{column}"
    return sa.ForeignKeyConstraint([column], [f"outsourced_{parent}.id"], name=name, ondelete="CASCADE")


def _create_installation() -> None:
    _create_table(
        "installation",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("uuid", sa.Uuid(), nullable=False),
        sa.Column("url", TEXT, nullable=True),
        sa.Column("signing_key", TEXT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("alive_at", MOMENT, nullable=True),
        sa.Column("resumed_at", MOMENT, nullable=True),
        sa.Column("storage_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_outsourced_installation_single")),
        _primary_key("installation", "id"),
    )


def _create_queues() -> None:
    _create_table(
        "queues",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=True),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        _primary_key("queues", "id"),
        _unique("queues", "name"),
        sqlite_autoincrement=True,
    )
    _create_table(
        "tasks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        _primary_key("tasks", "id"),
        _unique("tasks", "name"),
    )
    _create_table(
        "queue_tasks",
        sa.Column("queue_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("task_id", sa.Integer(), nullable=False, autoincrement=False),
        _primary_key("queue_tasks", "queue_id", "task_id"),
    )


def _create_accounts() -> None:
    _create_table(
        "accounts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("kind", NAME, nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        _primary_key("accounts", "id"),
        _unique("accounts", "name"),
        sqlite_autoincrement=True,
    )
    _create_table(
        "hires",
        sa.Column("worker_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("queue_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("created_at", MOMENT, nullable=False),
        _primary_key("hires", "worker_id", "queue_id"),
        _belongs_to("hires", "worker_id", "accounts"),
        _belongs_to("hires", "queue_id", "queues"),
    )
    _create_table(
        "allowances",
        sa.Column("account_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("queue_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("created_at", MOMENT, nullable=False),
        _primary_key("allowances", "account_id", "queue_id"),
        _belongs_to("allowances", "account_id", "accounts"),
        _belongs_to("allowances", "queue_id", "queues"),
    )
    _create_table(
        "credentials",
        sa.Column("kid", NAME, nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("public_jwk", TEXT, nullable=True),
        sa.Column("secret_sha256", NAME, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "(public_jwk IS NULL) <> (secret_sha256 IS NULL)",
            name=op.f("ck_outsourced_credentials_one_proof"),
        ),
        _primary_key("credentials", "kid"),
        _belongs_to("credentials", "account_id", "accounts"),
    )
    op.create_index("ix_outsourced_credentials_account_id", "outsourced_credentials", ["account_id"])
    _create_table(
        "instances",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("worker_id", sa.Integer(), nullable=False),
        sa.Column("host", NAME, nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("tasks", TEXT, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        _primary_key("instances", "id"),
        _belongs_to("instances", "worker_id", "accounts"),
    )
    op.create_index("ix_outsourced_instances_worker_id", "outsourced_instances", ["worker_id"])


def _create_jobs() -> None:
    _create_table(
        "jobs",
        *_job_keys(),
        sa.Column("queue_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("runs_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.Column("starts_at", MOMENT, nullable=True),
        sa.Column("stuck_after", sa.Double(), nullable=True),
        sa.Column("expires_after", sa.Double(), nullable=True),
        sa.Column("runs_after", sa.Double(), nullable=True),
        sa.Column("repeats_after_fail", sa.Double(), nullable=True),
        sa.Column("repeats_after_complete", sa.Double(), nullable=True),
        sa.Column("repeat_of", sa.Uuid(), nullable=True),
        sa.Column("begun_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("cancel_requested_at", MOMENT, nullable=True),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("lost_deliveries", sa.Integer(), nullable=False),
        sa.Column("max_retries", sa.Integer(), nullable=True),
        sa.Column("max_losses", sa.Integer(), nullable=False),
        sa.Column("lease_id", sa.Uuid(), nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("rescued_from", NAME, nullable=True),
        sa.Column("worker_id", sa.Integer(), nullable=True),
        sa.Column("instance_id", sa.Uuid(), nullable=True),
        sa.Column("owner_type", NAME, nullable=True),
        sa.Column("owner_id", NAME, nullable=True),
        sa.Column("client_id", sa.Integer(), nullable=True),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("root_id", sa.Uuid(), nullable=True),
        sa.Column("unique_key", NAME, nullable=True),
        sa.Column("live_key", NAME, nullable=True),
        sa.Column("bounded_queue_id", sa.Integer(), nullable=True),
        sa.Column("has_attachment", sa.Boolean(), nullable=False),
        sqlite_autoincrement=True,
    )
    if op.get_context().dialect.name in ("mysql", "mariadb"):
        _create_plain_job_indexes()
    else:
        _create_partial_job_indexes()


def _job_keys() -> list[sa.Column[Any] | sa.Constraint]:
    """`id` and `seq`: which of them orders the table is the dialect's affair."""
    if op.get_context().dialect.name == "postgresql":
        return [
            sa.Column("id", sa.Uuid(), nullable=False),
            sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
            _primary_key("jobs", "id"),
        ]
    return [
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seq", BIG_ID, nullable=False, autoincrement=True),
        _primary_key("jobs", "seq"),
        _unique("jobs", "id"),
    ]


def _create_partial_job_indexes() -> None:
    # no second index may cover `unassigned`: a planner that never saw the table chooses it
    _create_partial_index(
        "jobs_ready", "jobs", ["queue_id", "task_id", "priority", "seq"], "state = 'unassigned'"
    )
    _create_partial_index("jobs_due", "jobs", ["runs_at"], "state IN ('scheduled', 'retrying')")
    # by lease_until, not by state: a predicate that a settle implies would ruin settling
    _create_partial_index("jobs_leased", "jobs", ["lease_until"], "lease_until IS NOT NULL")
    _create_partial_index("jobs_live", "jobs", ["live_key"], "live_key IS NOT NULL", unique=True)
    _create_partial_index(
        "jobs_expiry", "jobs", ["expires_at"], "expires_at IS NOT NULL AND ended_at IS NULL"
    )
    _create_partial_index("jobs_bounded", "jobs", ["bounded_queue_id"], "bounded_queue_id IS NOT NULL")
    _create_partial_index("jobs_client", "jobs", ["client_id", "seq"], "client_id IS NOT NULL")
    _create_partial_index("jobs_owner", "jobs", ["owner_type", "owner_id", "state"], "owner_type IS NOT NULL")
    _create_partial_index("jobs_ended", "jobs", ["state", "ended_at"], "ended_at IS NOT NULL")
    _create_partial_index("jobs_repeat", "jobs", ["repeat_of"], "repeat_of IS NOT NULL", unique=True)
    _create_partial_index(
        "jobs_cancelling", "jobs", ["worker_id"], "cancel_requested_at IS NOT NULL AND ended_at IS NULL"
    )


def _create_plain_job_indexes() -> None:
    for name, columns in {
        "jobs_ready": ["state", "queue_id", "task_id", "priority", "seq"],
        "jobs_due": ["state", "runs_at"],
        "jobs_leased": ["lease_until"],
        "jobs_expiry": ["expires_at"],
        "jobs_bounded": ["bounded_queue_id"],
        "jobs_client": ["client_id", "seq"],
        "jobs_owner": ["owner_type", "owner_id", "state"],
        "jobs_ended": ["ended_at"],
        "jobs_cancelling": ["worker_id", "cancel_requested_at"],
    }.items():
        op.create_index(f"outsourced_{name}", "outsourced_jobs", columns)
    for name, column in {"jobs_live": "live_key", "jobs_repeat": "repeat_of"}.items():
        op.create_index(f"outsourced_{name}", "outsourced_jobs", [column], unique=True)


def _create_partial_index(
    name: str, table: str, columns: list[str], predicate: str, *, unique: bool = False
) -> None:
    """An index of the rows that fulfil the predicate; on MariaDB, of all rows."""
    where = sa.text(predicate)
    op.create_index(
        f"outsourced_{name}",
        f"outsourced_{table}",
        columns,
        unique=unique,
        postgresql_where=where,
        sqlite_where=where,
    )


def _create_job_parts() -> None:
    _create_table(
        "edges",
        sa.Column("upstream_id", sa.Uuid(), nullable=False),
        sa.Column("downstream_id", sa.Uuid(), nullable=False),
        sa.Column("kind", NAME, nullable=False),
        sa.Column("passes", sa.Boolean(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("opens", sa.SmallInteger(), nullable=False),
        sa.Column("closes", sa.SmallInteger(), nullable=False),
        sa.Column("met", sa.Boolean(), nullable=True),
        _primary_key("edges", "upstream_id", "downstream_id"),
    )
    # only who asks by downstream names the predicate: an edge is found by its key, whatever is planned
    _create_partial_index("edges_downstream", "edges", ["downstream_id", "kind", "met"], "position >= 0")
    _create_table(
        "job_args",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("args", TEXT, nullable=False),
        _primary_key("job_args", "job_id"),
    )
    _create_table(
        "job_results",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("result", TEXT, nullable=True),
        sa.Column("at", MOMENT, nullable=False),
        _primary_key("job_results", "job_id"),
    )
    _create_partial_index("job_results_kept", "job_results", ["at"], "result IS NOT NULL")
    _create_table(
        "history",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("from_state", NAME, nullable=True),
        sa.Column("to_state", NAME, nullable=False),
        sa.Column("event", NAME, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("actor", NAME, nullable=False),
        sa.Column("lease_id", sa.Uuid(), nullable=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("error", TEXT, nullable=True),
        _primary_key("history", "job_id", "seq"),
        sqlite_with_rowid=False,
    )
    # tells a stale lease (409) from a foreign one (404)
    _create_partial_index("history_lease", "history", ["lease_id"], "event = 'claim'")
    _create_table(
        "files",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("kind", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", NAME, nullable=False),
        sa.Column("content_type", NAME, nullable=False),
        sa.Column("lease_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        _primary_key("files", "job_id", "kind", "name"),
    )
    op.create_index("ix_outsourced_files_key", "outsourced_files", ["key"])


def _create_records() -> None:
    _create_table(
        "listeners",
        sa.Column("owner_type", NAME, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        _primary_key("listeners", "owner_type"),
    )
    _create_table(
        "endings",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("owner_type", NAME, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        _primary_key("endings", "id"),
    )
    op.create_index("outsourced_endings_due", "outsourced_endings", ["owner_type", "due_at"])
    _create_table(
        "replies",
        sa.Column("caller", NAME, nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("fingerprint", NAME, nullable=True),
        sa.Column("reply", TEXT, nullable=True),
        sa.Column("at", MOMENT, nullable=False),
        _primary_key("replies", "caller", "key"),
    )
    op.create_index("ix_outsourced_replies_at", "outsourced_replies", ["at"])
    _create_table(
        "audit",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", NAME, nullable=False),
        sa.Column("act", NAME, nullable=False),
        sa.Column("subject", NAME, nullable=False),
        sa.Column("details", TEXT, nullable=False),
        _primary_key("audit", "id"),
    )
    _create_table(
        "duties",
        sa.Column("name", NAME, nullable=False),
        sa.Column("ran_at", MOMENT, nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        _primary_key("duties", "name"),
    )
    _create_table(
        "schedules",
        sa.Column("name", NAME, nullable=False),
        sa.Column("declared_by", NAME, nullable=False),
        sa.Column("task", NAME, nullable=False),
        sa.Column("spec", TEXT, nullable=False),
        sa.Column("zone", NAME, nullable=False),
        sa.Column("args", TEXT, nullable=False),
        sa.Column("options", TEXT, nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("ticked_at", MOMENT, nullable=True),
        sa.Column("last_job_id", sa.Uuid(), nullable=True),
        sa.Column("skipped", TEXT, nullable=True),
        _primary_key("schedules", "name"),
    )
