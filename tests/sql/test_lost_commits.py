"""The connection breaks after COMMIT and before its answer: nobody is told what is not so."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from outsourced.errors import AlreadyExists, BackendUnavailable
from outsourced.records import ExchangeRequest, NewFile, OutcomeKind, SettledStatus
from outsourced.sql.backend import SqlBackend
from outsourced.sql.database import Database
from outsourced.states import Event
from outsourced.storage import LocalStorage
from tests.checker import Call, Records, assert_clean
from tests.sql.conftest import TASK, Site, new_job, outcome
from tests.sql.losing_proxy import LosingProxy, losing

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
]

LOST = 100


@pytest.fixture
def remote(
    backend: SqlBackend, database_url: str, tmp_path: Path
) -> Iterator[tuple[LosingProxy, SqlBackend]]:
    """The same store of jobs, reached through a proxy that can lose answers."""
    with losing(database_url) as (proxy, url):
        database = Database(url)
        through = SqlBackend(database, storage=LocalStorage(tmp_path / "files"))
        through.enqueue([new_job()])  # whatever is written once is written
        yield proxy, through
        database.dispose()


def test_enqueue_whose_answer_is_lost_is_never_a_false_success_nor_a_second_job(
    backend: SqlBackend, remote: tuple[LosingProxy, SqlBackend]
) -> None:
    proxy, through = remote
    calls = []
    for number in range(LOST):
        job, unknowable = new_job(), number % 2 == 0
        proxy.lose_next(and_go_down=unknowable)
        if unknowable:  # nobody can be asked whether it was committed
            with pytest.raises(BackendUnavailable):
                through.enqueue([job])
            proxy.is_down = False
            with pytest.raises(AlreadyExists):
                through.enqueue([job])
        else:
            through.enqueue([job])
        calls.append(Call(kind="enqueue", status="info" if unknowable else "ok", job_id=job.id))
        assert [row.event for row in backend.history(job.id)] == [Event.ENQUEUE]

    assert proxy.lost == LOST
    with backend.database.connect() as connection:
        records = Records.read(connection)
    (first,) = {job.id for job in records.jobs} - {call.job_id for call in calls}
    calls.append(Call(kind="enqueue", status="ok", job_id=first))
    assert assert_clean(records, calls=calls, quiesced=False).recovered == LOST // 2


def test_enqueue_that_filled_the_queue_is_not_called_full_when_its_answer_is_lost(
    backend: SqlBackend, remote: tuple[LosingProxy, SqlBackend]
) -> None:
    proxy, through = remote
    through.enqueue([new_job(queue="small"), new_job(queue="small")])
    last = new_job(queue="small")
    proxy.lose_next()
    through.enqueue([last])
    assert proxy.lost == 1
    assert [row.event for row in backend.history(last.id)] == [Event.ENQUEUE]


def test_enqueue_that_took_the_key_is_not_refused_it_when_its_answer_is_lost(
    backend: SqlBackend, remote: tuple[LosingProxy, SqlBackend]
) -> None:
    proxy, through = remote
    job = new_job(unique_key="only one")
    proxy.lose_next()
    through.enqueue([job])
    assert proxy.lost == 1
    assert [row.event for row in backend.history(job.id)] == [Event.ENQUEUE]


def test_attachment_of_a_job_that_may_be_there_is_kept(
    backend: SqlBackend, remote: tuple[LosingProxy, SqlBackend], near: Site
) -> None:
    proxy, through = remote
    attachment = NewFile(open=lambda: io.BytesIO(b"content"), filename="it")
    job = new_job(attachment=attachment, priority=-1)
    proxy.lose_next(and_go_down=True)
    with pytest.raises(BackendUnavailable):
        through.enqueue([job])

    (lease,) = near.claim(1)
    assert lease.job_id == job.id
    _, key = backend.attachment(near.identity, lease.id)
    assert through.storage is not None
    with through.storage.open(key) as file:
        assert file.read() == b"content"


def test_exchange_whose_answer_is_lost_is_answered_when_repeated(
    remote: tuple[LosingProxy, SqlBackend], near: Site
) -> None:
    proxy, through = remote
    through.enqueue([new_job()])
    far = Site(through, near.identity, instance=near.instance)
    claim = ExchangeRequest(instance=near.instance, claim_id=uuid4(), slots=1, tasks=(TASK,))
    lose_answer(proxy, far, claim)
    (lease,) = through.exchange(far.identity, claim).leases

    report = replace(claim, claim_id=uuid4(), outcomes=(outcome(lease, OutcomeKind.COMPLETED, result="3"),))
    lose_answer(proxy, far, report)
    reply = through.exchange(far.identity, report)
    assert [settled.status for settled in reply.settled] == [SettledStatus.REPLAYED]
    assert len(reply.leases) == 1
    assert reply.leases[0].job_id != lease.job_id


def lose_answer(proxy: LosingProxy, site: Site, request: ExchangeRequest) -> None:
    lost = proxy.lost
    proxy.lose_next()
    with pytest.raises(BackendUnavailable):
        site.backend.exchange(site.identity, request)
    assert proxy.lost == lost + 1
