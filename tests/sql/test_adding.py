"""Many add to one chord at once, and end: the body is given the results of all, each once."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.orm import Session

from outsourced import payload
from outsourced.errors import InvalidRequest
from outsourced.records import Edge, EdgeKind, Lease, NewJob, OutcomeKind
from outsourced.sql.backend import SqlBackend
from outsourced.sql.task_producer import TaskProducer
from outsourced.states import State
from tests.sql.conftest import Site, new_job

MEMBERS, ADDED = 8, 5


def test_a_body_waits_for_all_that_a_crowd_adds(backend: SqlBackend, near: Site) -> None:
    header = [new_job() for _ in range(MEMBERS)]
    body = new_job(after=_edges(header))
    backend.enqueue([*header, body])

    def work(_number: int) -> int:
        done = 0
        while backend.job(body.id).state is State.WAITING:  # type: ignore[union-attr]
            for lease in near.claim(slots=2):
                if lease.job_id == body.id:
                    near.settle(lease, OutcomeKind.RELEASED)
                    continue
                if lease.parent_id is None:
                    _add(backend, near, lease)
                near.settle(lease, OutcomeKind.COMPLETED, result=f'"{lease.parent_id or "member"}"')
                done += 1
        return done

    with ThreadPoolExecutor(6) as threads:
        done = sum(threads.map(work, range(6)))

    assert done == MEMBERS * (1 + ADDED)
    (lease,) = near.claim()
    assert lease.job_id == body.id
    given = Counter(payload.decode_call(lease.payload)[0][0])
    assert given == Counter({"member": MEMBERS} | {str(job.id): ADDED for job in header})


def test_what_is_added_joins_no_transaction(backend: SqlBackend, near: Site) -> None:
    """Those that end would wait for its commit."""
    backend.enqueue([new_job()])
    (lease,) = near.claim()
    with Session(backend.database.engine) as session, pytest.raises(InvalidRequest, match="no transaction"):
        TaskProducer(backend, near.identity, lease).enqueue([new_job(add_to_chord=True)], session=session)
    assert backend.children(lease.job_id) == []


def _add(backend: SqlBackend, site: Site, lease: Lease) -> None:
    producer = TaskProducer(backend, site.identity, lease)
    for _ in range(ADDED):
        producer.enqueue([new_job(add_to_chord=True)])


def _edges(header: list[NewJob]) -> tuple[Edge, ...]:
    last = len(header) - 1
    return tuple(
        Edge(upstream=job.id, kind=EdgeKind.CHORD, opens=int(number == 0), closes=int(number == last))
        for number, job in enumerate(header)
    )
