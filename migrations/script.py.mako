"""${message}"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from outsourced.sql.lineage import downgrades_to, upgrades_to
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


@upgrades_to(revision)
def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


@downgrades_to(down_revision)
def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
