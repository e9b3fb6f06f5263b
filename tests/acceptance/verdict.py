"""A run held against its promises: what producers and workers were told, what ran, and the record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

from tests.acceptance.deployment import Deployment
from tests.checker import Call, Records, Start, Totals, assert_clean


def assert_kept_promises(deployment: Deployment, calls: Iterable[Call]) -> Totals:
    """Once all is quiet: the checker finds nothing; gives lost, unexpected, duplicated and recovered."""
    with deployment.backend.database.connect() as connection:
        records = Records.read(connection)
    starts = [
        Start(job_id=run.job_id, lease_id=run.lease_id, began=run.began, ended=run.ended)
        for run in deployment.ledger.runs()
    ]
    return assert_clean(records, calls=[*calls, *settlings(deployment)], starts=starts)


def enqueued(jobs: Iterable[UUID], status: str = "ok") -> list[Call]:
    """The calls that enqueued these jobs."""
    return [Call(kind="enqueue", status=status, job_id=job) for job in jobs]


def settlings(deployment: Deployment) -> Iterator[Call]:
    """What servers said of each outcome, whether or not the worker lived to hear it."""
    for passing in deployment.proxy.answered:
        jobs = {outcome["lease_id"]: outcome["job_id"] for outcome in passing.said["outcomes"]}
        for settled in passing.answered.get("settled", ()):
            yield Call(
                kind="settle",
                status="fail" if settled["status"] == "refused" else "ok",
                job_id=UUID(jobs[settled["lease_id"]]),
                lease_id=UUID(settled["lease_id"]),
                code=settled.get("code"),
            )
