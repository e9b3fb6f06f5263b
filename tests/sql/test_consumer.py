"""A worker in the server's process: the exchange, files and children, by right of having the database."""

from __future__ import annotations

import io
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from outsourced.errors import AuthenticationFailed, DigestMismatch, LeaseLost, NotFound, WorkerLocked
from outsourced.records import ExchangeRequest, Instance, Lease, NewFile, OutcomeKind, Owner
from outsourced.sql import workers
from outsourced.sql.backend import SqlBackend
from outsourced.sql.consumer import SqlConsumer
from outsourced.storage import LocalStorage
from tests.sql.conftest import TASK, new_job, outcome

ACTOR = "admin:test"
HERE = Instance(id=uuid4(), host="here", pid=1, version="0")
BEAT = ExchangeRequest(instance=HERE)


@pytest.fixture
def consumer(backend: SqlBackend, tmp_path: Path) -> SqlConsumer:
    backend.storage = LocalStorage(tmp_path / "files")
    return SqlConsumer(backend, "near")


def claim(consumer: SqlConsumer) -> Lease:
    request = ExchangeRequest(instance=HERE, claim_id=uuid4(), slots=1, tasks=(TASK,))
    (lease,) = consumer.exchange(request).leases
    return lease


def test_exchange_gives_payloads_ready_to_run(backend: SqlBackend, consumer: SqlConsumer) -> None:
    backend.enqueue([new_job()])
    assert claim(consumer).payload == {"args": [1, 2], "kwargs": {}}


def test_reset_of_credentials_does_not_stop_a_worker_that_has_none(
    backend: SqlBackend, consumer: SqlConsumer
) -> None:
    consumer.exchange(BEAT)
    workers.reset(backend, "near", actor=ACTOR)
    backend.enqueue([new_job()])
    assert claim(consumer).task == TASK


def test_lock_stops_it_as_any_other(backend: SqlBackend, consumer: SqlConsumer) -> None:
    consumer.exchange(BEAT)
    workers.lock(backend, "near", actor=ACTOR)
    with pytest.raises(WorkerLocked):
        consumer.exchange(BEAT)
    workers.unlock(backend, "near", actor=ACTOR)
    consumer.exchange(BEAT)


def test_worker_destroyed_is_told_so(backend: SqlBackend, consumer: SqlConsumer) -> None:
    consumer.exchange(BEAT)
    workers.destroy(backend, "near", actor=ACTOR)
    with pytest.raises(AuthenticationFailed, match="no worker 'near' any more"):
        consumer.exchange(BEAT)


def test_attachment_arrives_whole_or_not_at_all(
    backend: SqlBackend, consumer: SqlConsumer, tmp_path: Path
) -> None:
    backend.enqueue([new_job(attachment=NewFile(open=lambda: io.BytesIO(b"in"), filename="in"))])
    lease = claim(consumer)
    consumer.fetch_attachment(lease, tmp_path / "in")
    assert (tmp_path / "in").read_bytes() == b"in"

    (tmp_path / "in").unlink()
    (stored,) = [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
    stored.write_bytes(b"spoilt")
    with pytest.raises(DigestMismatch):
        consumer.fetch_attachment(lease, tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_job_without_attachment_has_none_to_fetch(
    backend: SqlBackend, consumer: SqlConsumer, tmp_path: Path
) -> None:
    backend.enqueue([new_job()])
    with pytest.raises(NotFound):
        consumer.fetch_attachment(claim(consumer), tmp_path / "in")


def test_file_is_saved_under_a_good_lease_only(
    backend: SqlBackend, consumer: SqlConsumer, tmp_path: Path
) -> None:
    (tmp_path / "out").write_bytes(b"made")
    backend.enqueue([new_job()])
    lease = claim(consumer)
    consumer.save_file(lease, "out", tmp_path / "out", "text/plain")
    with backend.open_file(lease.job_id, "out") as stream:
        assert stream.read() == b"made"

    consumer.exchange(ExchangeRequest(instance=HERE, outcomes=(outcome(lease, OutcomeKind.COMPLETED),)))
    with pytest.raises(LeaseLost):
        consumer.save_file(lease, "late", tmp_path / "out", "text/plain")
    assert len([path for path in (tmp_path / "files").rglob("*") if path.is_file()]) == 1


def test_children_are_under_their_lease_and_may_go_anywhere(
    backend: SqlBackend, consumer: SqlConsumer
) -> None:
    owner = Owner(type="Order", id="7")
    backend.enqueue([new_job(owner=owner)])
    lease = claim(consumer)
    workers.fire(backend, "near", "small", actor=ACTOR)
    producer, child = consumer.producer(lease), new_job(queue="small")
    producer.enqueue([child])

    found = producer.job(child.id)
    assert found is not None
    assert (found.owner, found.queue) == (owner, "small")
    assert producer.history(child.id)[0].actor == f"task:{lease.job_id}"
    assert sum(producer.count_of(owner).values()) == len(list(producer.jobs_of(owner))) == 2
    cancelled = producer.cancel(child.id)
    assert cancelled is not None
    assert producer.wait(child.id, 0) == cancelled
    assert producer.history(child.id)[-1].actor == f"task:{lease.job_id}"
    assert producer.cancel_of(owner) == (0, 1)
    with pytest.raises(NotFound):
        producer.open_file(child.id, "out")


def test_child_may_join_a_transaction_of_the_host(backend: SqlBackend, consumer: SqlConsumer) -> None:
    backend.enqueue([new_job()])
    lease = claim(consumer)
    dropped, kept = new_job(), new_job()
    host = create_engine(backend.database.engine.url)
    with Session(host) as session:
        for child, end in ((dropped, session.rollback), (kept, session.commit)):
            consumer.producer(lease).enqueue([child], session=session)
            end()
    host.dispose()
    assert backend.job(dropped.id) is None
    assert backend.history(kept.id)[0].actor == f"task:{lease.job_id}"


def test_no_child_of_a_lease_that_has_ended(backend: SqlBackend, consumer: SqlConsumer) -> None:
    backend.enqueue([new_job()])
    lease = claim(consumer)
    producer = consumer.producer(lease)
    consumer.exchange(ExchangeRequest(instance=HERE, outcomes=(outcome(lease, OutcomeKind.COMPLETED),)))
    with pytest.raises(LeaseLost):
        producer.enqueue([new_job()])
