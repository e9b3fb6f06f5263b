"""The suite on `SqlBackend` with PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from outsourced.sql.database import Database
from tests.backends.sql_stage import SqlStage
from tests.backends.stage import staff
from tests.backends.suite import *  # noqa: F403

pytestmark = pytest.mark.postgres


@pytest.fixture
def stage(postgres_url: str, tmp_path: Path) -> Iterator[SqlStage]:
    database = Database(postgres_url)
    stage = SqlStage.on(database, tmp_path)
    staff(stage)
    yield stage
    database.dispose()
