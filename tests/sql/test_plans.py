"""Plans on PostgreSQL that must hold on a table never analysed: also those made while it was empty."""

from __future__ import annotations

import re
from collections.abc import Mapping
from uuid import uuid4

import pytest
from sqlalchemy import Connection

from outsourced.sql.database import Database
from outsourced.sql.dialects.postgresql import SETTINGS
from outsourced.sql.dialects.postgresql.claim import claim_statement
from outsourced.sql.dialects.postgresql.follow import follow_statement
from outsourced.sql.dialects.postgresql.moves import as_json, move_statement, moves_at

NOW = "clock_timestamp()"
CONSTANTS = {"worker_id": 1, "actor": "test", "ttl": 60.0, "instance_id": uuid4()}


def plan_of(connection: Connection, statement: str, parameters: dict[str, object]) -> str:
    connection.exec_driver_sql("BEGIN")
    connection.exec_driver_sql(SETTINGS)
    rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars().all()
    connection.exec_driver_sql("ROLLBACK")
    return "\n".join(rows)


def indexes_of_moved_rows(plan: str) -> set[str]:
    """The indexes by which the statement reaches the rows it moves: alias `j` of jobs."""
    return set(re.findall(r"using (\w+) on outsourced_jobs j(?:_\d+)?\b", plan))


@pytest.mark.postgres
def test_claim_moves_jobs_by_their_key(postgres_url: str) -> None:
    database = Database(postgres_url)
    wish = {"tasks": ["a", "b"], "slots": 100, "said": "{}", "caller": "worker:1", "claim_key": "claim:1"}
    with database.connect() as connection:
        plan = plan_of(connection, claim_statement(NOW), CONSTANTS | wish)
    database.dispose()

    assert indexes_of_moved_rows(plan) == {"pk_outsourced_jobs"}
    assert "outsourced_jobs_ready" in plan


@pytest.mark.postgres
def test_claim_within_limits_moves_jobs_by_their_key_and_comes_to_limits_by_theirs(postgres_url: str) -> None:
    database = Database(postgres_url)
    wish = {"tasks": ["a", "b"], "slots": 100, "said": "{}", "caller": "worker:1", "claim_key": "claim:1"}
    with database.connect() as connection:
        plan = plan_of(connection, claim_statement(NOW, limited=True), CONSTANTS | wish)
    database.dispose()

    assert indexes_of_moved_rows(plan) == {"pk_outsourced_jobs"}
    assert {*re.findall(r"Scan using (\w+) on outsourced_rates", plan)} == {"pk_outsourced_rates"}
    assert not re.search(r"Seq Scan on outsourced_(jobs|rates)", plan)
    assert "outsourced_jobs_ready" in plan


@pytest.mark.postgres
def test_follow_comes_by_keys(postgres_url: str) -> None:
    database = Database(postgres_url)
    with database.connect() as connection:
        plan = plan_of(connection, follow_statement(NOW), {"ids": f"{{{uuid4()}}}", "actor": "test"})
        moves = [
            plan_of(connection, move_statement(NOW, name), CONSTANTS | {"rows": as_json([_row(move.given)])})
            for name, move in moves_at(NOW).items()
            if move.ends
        ]
    database.dispose()

    assert indexes_of_moved_rows(plan) == {"pk_outsourced_jobs"}
    for one in (plan, *moves):
        # but for the question whether there are edges at all
        conditions = re.findall(r"Scan using \w*outsourced_edges\w* on .*\n +(Index Cond: .*)", one)
        assert conditions
        for condition in conditions:
            assert re.match(r"Index Cond: \(+(upstream_id|downstream_id) = ", condition)
        assert "Seq Scan" not in one


def _row(given: Mapping[str, str]) -> dict[str, object]:
    return {"id": uuid4()} | dict.fromkeys(given)


@pytest.mark.postgres
def test_moves_reach_their_jobs_by_key(postgres_url: str) -> None:
    database = Database(postgres_url)
    with database.connect() as connection:
        for name, move in moves_at(NOW).items():
            rows = as_json([{"id": uuid4()} | dict.fromkeys(move.given)])
            plan = plan_of(connection, move_statement(NOW, name), CONSTANTS | {"rows": rows})
            assert indexes_of_moved_rows(plan) == {"pk_outsourced_jobs"}, name
    database.dispose()
