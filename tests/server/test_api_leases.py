"""The exchange over HTTP, against a real server: claims, outcomes, parking, and who may do what."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest
import requests

from outsourced.errors import AuthenticationFailed, WorkerLocked
from outsourced.payload import encode_call
from outsourced.records import CommandKind, ExchangeReply, NewJob, Outcome, OutcomeKind, SettledStatus
from outsourced.server.services import Services
from outsourced.sql import queues, workers
from outsourced.states import State
from outsourced.wire import dump_exchange, load_reply
from tests.server.conftest import ADMIN, Colleague
from tests.server.loopback import RemoteWorker, enqueue, on_one_database, until


@pytest.fixture
def later() -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def a_token(worker: RemoteWorker) -> str:
    worker.consumer.exchange(worker.request())
    token: str = worker.transport._session.token["access_token"]
    return token


def post(url: str, body: bytes, token: str = "", **headers: str) -> requests.Response:
    fields = {
        "Outsourced-Protocol": "1",
        "Content-Type": "application/json",
        "Authorization": f"Bearer {token}",
    }
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(f"{url}/v1/leases", body, headers=fields, timeout=10)


def test_exchange_claims_and_records(worker: RemoteWorker, services: Services) -> None:
    job_id = enqueue(services, 1, 2)

    (lease,) = worker.consumer.exchange(worker.request(slots=5)).leases
    assert (lease.job_id, lease.task, lease.queue) == (job_id, "t", "q")
    assert lease.payload == {"args": [1, 2], "kwargs": {}}

    outcome = Outcome(lease_id=lease.id, job_id=job_id, kind=OutcomeKind.COMPLETED, result="3", ran_for=0.01)
    reply = worker.consumer.exchange(worker.request(outcomes=(outcome,)))
    assert [(one.lease_id, one.status) for one in reply.settled] == [(lease.id, SettledStatus.RECORDED)]

    job = services.backend.job(job_id)
    assert job is not None
    assert (job.state, job.result) == (State.COMPLETED, "3")


def test_exchange_sent_again_gets_the_same_answer(worker: RemoteWorker, services: Services) -> None:
    enqueue(services)
    claim = worker.request(slots=5)
    first = worker.consumer.exchange(claim)
    assert worker.consumer.exchange(claim).leases == first.leases

    (lease,) = first.leases
    outcome = Outcome(lease_id=lease.id, job_id=lease.job_id, kind=OutcomeKind.COMPLETED, ran_for=0.01)
    said = worker.request(outcomes=(outcome,))
    worker.consumer.exchange(said)
    (settled,) = worker.consumer.exchange(said).settled
    assert settled.status is SettledStatus.REPLAYED


def test_a_parked_poll_gets_the_job_that_comes(
    worker: RemoteWorker, services: Services, later: Callable[..., Future[ExchangeReply]]
) -> None:
    poll = later(worker.consumer.exchange, worker.request(slots=5, wait=20))
    until(lambda: services.wakeup.parked == 1)
    job_id = enqueue(services)
    assert [lease.job_id for lease in poll.result(10).leases] == [job_id]
    assert services.wakeup.parked == 0


@on_one_database
def test_the_time_left_of_a_job_that_a_parked_poll_gets_counts_from_before_it_was_sent(
    worker: RemoteWorker, services: Services, later: Callable[..., Future[ExchangeReply]]
) -> None:
    poll = later(worker.consumer.exchange, worker.request(slots=1, wait=20))
    until(lambda: services.wakeup.parked == 1)
    parked_by = time.monotonic()
    time.sleep(0.5)
    enqueued_at = time.monotonic()
    job = NewJob(
        id=uuid4(), task="t", payload=encode_call((), {}), queue="q", expires_in=timedelta(seconds=10)
    )
    services.backend.enqueue([job])
    (lease,) = poll.result(10).leases
    assert lease.expires_in is not None
    assert parked_by + lease.expires_in > enqueued_at + 10 - 0.25


@on_one_database
def test_a_poll_that_finds_jobs_does_not_park(worker: RemoteWorker, services: Services) -> None:
    enqueue(services)
    assert len(worker.consumer.exchange(worker.request(slots=5, wait=20)).leases) == 1


@on_one_database
def test_a_poll_with_outcomes_does_not_park(worker: RemoteWorker, services: Services) -> None:
    enqueue(services)
    (lease,) = worker.consumer.exchange(worker.request(slots=1)).leases
    outcome = Outcome(lease_id=lease.id, job_id=lease.job_id, kind=OutcomeKind.COMPLETED, ran_for=0.01)
    reply = worker.consumer.exchange(worker.request(slots=1, wait=20, outcomes=(outcome,)))
    assert (len(reply.settled), len(reply.leases)) == (1, 0)


@on_one_database
def test_a_parked_poll_ends_when_its_time_is_up(worker: RemoteWorker) -> None:
    assert worker.consumer.exchange(worker.request(slots=1, wait=0.05)) == ExchangeReply()


@on_one_database
def test_a_newer_poll_of_the_instance_ends_the_older(
    worker: RemoteWorker, services: Services, later: Callable[..., Future[ExchangeReply]]
) -> None:
    older = later(worker.consumer.exchange, worker.request(slots=1, wait=20))
    until(lambda: services.wakeup.parked == 1)
    newer = worker.consumer.exchange(worker.request(wait=0.001))
    assert older.result(10) == newer == ExchangeReply()


def test_a_parked_poll_hears_a_cancel(
    worker: RemoteWorker, services: Services, later: Callable[..., Future[ExchangeReply]]
) -> None:
    job_id = enqueue(services)
    (lease,) = worker.consumer.exchange(worker.request(slots=1)).leases
    poll = later(worker.consumer.exchange, worker.request(wait=20))
    until(lambda: services.wakeup.parked == 1)
    services.backend.cancel(job_id)
    services.wakeup.wake_all()
    (command,) = poll.result(10).commands
    assert (command.kind, command.lease_id) == (CommandKind.CANCEL, lease.id)


def test_a_parked_poll_ends_with_the_lock(
    worker: RemoteWorker, services: Services, phill: Colleague, later: Callable[..., Future[ExchangeReply]]
) -> None:
    poll = later(worker.consumer.exchange, worker.request(slots=1, wait=20))
    until(lambda: services.wakeup.parked == 1)
    workers.lock(services.backend, phill.name, actor=ADMIN)
    with pytest.raises(WorkerLocked):
        poll.result(10)
    with pytest.raises(WorkerLocked):
        worker.consumer.exchange(worker.request())

    workers.unlock(services.backend, phill.name, actor=ADMIN)
    assert worker.consumer.exchange(worker.request()) == ExchangeReply()


def test_a_worker_hired_while_parked_gets_the_jobs_of_its_new_queue(
    worker: RemoteWorker,
    services: Services,
    phill: Colleague,
    later: Callable[..., Future[ExchangeReply]],
) -> None:
    queues.create(services.backend, "other", actor=ADMIN)
    job_id = enqueue(services, queue="other")
    poll = later(worker.consumer.exchange, worker.request(slots=1, wait=20))
    until(lambda: services.wakeup.parked == 1)
    workers.hire(services.backend, phill.name, "other", actor=ADMIN)
    assert [lease.job_id for lease in poll.result(10).leases] == [job_id]


@on_one_database
def test_polls_over_the_limit_are_sent_away(worker: RemoteWorker, services: Services) -> None:
    a_token(worker)
    object.__setattr__(services.settings, "max_waiters", 0)
    services.wakeup.max_waiters = 0
    reply = worker.consumer.exchange(worker.request(slots=1, wait=20))
    assert reply.retry_after is not None
    assert 1 <= reply.retry_after <= 5


@on_one_database
def test_every_answer_names_the_protocol(worker: RemoteWorker, url: str) -> None:
    token = a_token(worker)
    good = post(url, dump_exchange(worker.request()), token)
    assert (good.status_code, good.headers["Outsourced-Protocol"]) == (200, "1")
    assert good.headers["Content-Type"] == "application/json"
    assert post(url, b"{}").headers["Outsourced-Protocol"] == "1"


@on_one_database
@pytest.mark.parametrize("spoken", ["0", "2", "", "x"])
def test_other_versions_of_the_protocol_are_refused(worker: RemoteWorker, url: str, spoken: str) -> None:
    answer = post(url, dump_exchange(worker.request()), a_token(worker), Outsourced_Protocol=spoken)
    assert (answer.status_code, answer.json()["code"]) == (426, "worker_too_old")


@on_one_database
@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
def test_exchange_without_a_good_token_is_refused(worker: RemoteWorker, url: str, token: str) -> None:
    answer = post(url, dump_exchange(worker.request()), token)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_exchange_of_a_reset_worker_is_refused(
    worker: RemoteWorker, services: Services, phill: Colleague
) -> None:
    a_token(worker)
    workers.reset(services.backend, phill.name, actor=ADMIN)
    with pytest.raises(AuthenticationFailed):
        worker.consumer.exchange(worker.request())


@on_one_database
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_json"),
        (b"[" * 100_000, 400, "malformed_json"),
        (b'{"slots": NaN}', 400, "malformed_json"),
        (b"[]", 422, "invalid_request"),
        (b"{}", 422, "invalid_request"),
    ],
    ids=["broken", "nested", "NaN", "list", "empty"],
)
def test_bad_bodies_are_refused(worker: RemoteWorker, url: str, body: bytes, status: int, code: str) -> None:
    answer = post(url, body, a_token(worker))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"


@on_one_database
def test_a_refusal_names_what_is_wrong(worker: RemoteWorker, url: str) -> None:
    tree = orjson.loads(dump_exchange(worker.request()))
    tree["outcomes"] = [{"lease_id": str(uuid4()), "job_id": str(uuid4()), "kind": "eaten"}]
    answer = post(url, orjson.dumps(tree), a_token(worker))
    assert answer.json()["path"] == "outcomes[0].kind"


@on_one_database
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_other_content_types_are_refused(worker: RemoteWorker, url: str, content_type: str) -> None:
    body = dump_exchange(worker.request())
    answer = post(url, body, a_token(worker), Content_Type=content_type)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@on_one_database
def test_an_oversize_body_is_refused(worker: RemoteWorker, services: Services, url: str) -> None:
    token = a_token(worker)
    object.__setattr__(services.settings, "max_body", 1000)
    answer = post(url, b" " * 1001, token)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@on_one_database
def test_json_of_other_clients_is_understood(worker: RemoteWorker, services: Services, url: str) -> None:
    enqueue(services)
    tree = orjson.loads(dump_exchange(worker.request(slots=1)))
    answer = post(url, orjson.dumps(tree, option=orjson.OPT_INDENT_2), a_token(worker))
    assert len(load_reply(answer.content).leases) == 1


def test_worker_tells_who_asks(worker: RemoteWorker, services: Services, phill: Colleague) -> None:
    assert orjson.loads(worker.transport.get("/v1/worker")) == {
        "worker": phill.name,
        "state": "active",
        "paused": False,
        "queues": ["q"],
    }
    workers.lock(services.backend, phill.name, actor=ADMIN)
    with pytest.raises(WorkerLocked):
        worker.transport.get("/v1/worker")
