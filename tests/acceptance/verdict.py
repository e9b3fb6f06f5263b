"""A run held against its promises: what producers and workers were told, what ran, and the record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

from tests.acceptance.deployment import Deployment
from tests.checker import Call, Records, Start, Totals, assert_clean, check


def assert_kept_promises(deployment: Deployment, calls: Iterable[Call]) -> Totals:
    """Once all is quiet: the checker finds nothing; gives lost, unexpected, duplicated and recovered."""
    with deployment.backend.database.connect() as connection:
        records = Records.read(connection)
    starts = [
        Start(job_id=run.job_id, lease_id=run.lease_id, began=run.began, ended=run.ended)
        for run in deployment.ledger.runs()
    ]
    told = [*calls, *settlings(deployment)]
    for job_id in {one.job_id for one in check(records, calls=told, starts=starts)}:
        print(*biography(deployment, job_id), sep="\n")
    return assert_clean(records, calls=told, starts=starts)


def biography(deployment: Deployment, job_id: UUID | None) -> Iterator[str]:
    """All that is known of a job, for whoever looks for the cause of a violation."""
    if job_id is None:
        return
    yield f"job {job_id}"
    for row in deployment.backend.history(job_id):
        yield f"  {row.at:%H:%M:%S.%f} {row.event} → {row.to_state} {row.actor} {row.lease_id} {row.reason}"
    for run in deployment.ledger.of(job_id):
        yield f"  ran {run.began:.3f}–{run.ended or 0:.3f} in {run.pid} of {run.worker_pid}: {run.lease_id}"
    for passing in deployment.proxy.carried:
        if str(job_id).encode() in passing.request.body + (passing.answer.body if passing.answer else b""):
            yield f"  {passing.at:.3f} said {passing.said}"
            yield f"  heard {passing.answered}"


def enqueued(jobs: Iterable[UUID], status: str = "ok") -> list[Call]:
    """The calls that enqueued these jobs."""
    return [Call(kind="enqueue", status=status, job_id=job) for job in jobs]


def settlings(deployment: Deployment) -> Iterator[Call]:
    """Every outcome that reached a server, and what that said of it, whether or not the worker heard."""
    for passing in deployment.proxy.carried:
        answers = {one["lease_id"]: one for one in passing.answered.get("settled", ())}
        for outcome in passing.said["outcomes"]:
            answer = answers.get(outcome["lease_id"], {"status": "unanswered"})
            yield Call(
                kind="settle",
                status=_STATUSES[answer["status"]],
                job_id=UUID(outcome["job_id"]),
                lease_id=UUID(outcome["lease_id"]),
                code=answer.get("code"),
            )


#: what a server says of an outcome → what that means for whoever sent it
_STATUSES = {"recorded": "ok", "replayed": "ok", "refused": "fail", "unanswered": "info"}
