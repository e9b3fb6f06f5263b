"""Producers elsewhere: `outsourced.Client` against the real server, and what a stranger gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

import outsourced
from outsourced.errors import (
    AuthenticationFailed,
    BackendUnavailable,
    ConfigurationError,
    PayloadError,
    QueueForbidden,
    QueueFull,
    WorkerLocked,
)
from outsourced.http.transport import Transport
from outsourced.records import ClientIdentity, Lease, NewJob, Outcome, OutcomeKind
from outsourced.server.services import Services
from outsourced.sql import clients, overview, producing, queues, workers
from outsourced.sql.producing import Key
from outsourced.states import Event
from tests.server.conftest import ADMIN, Colleague
from tests.server.loopback import RemoteWorker

TASK = "t"  #: what the remote worker knows
SECRET = "a secret of 43 characters, as the CLI makes"


@pytest.fixture
def queue(services: Services, worker: RemoteWorker) -> None:
    """Beside `q`, where the worker is hired."""
    queues.create(services.backend, "closed", actor=ADMIN)
    queues.create(services.backend, "small", capacity=2, actor=ADMIN)


@pytest.fixture
def connect(services: Services, queue: None, url: str) -> Iterator[Callable[[str], outsourced.Client]]:
    """Makes a client that may enqueue into `q` and `small`, and connects as it."""
    made = []

    def connect(name: str) -> outsourced.Client:
        clients.create(services.backend, name, actor=ADMIN)
        clients.add_secret(services.backend, name, SECRET + name, actor=ADMIN)
        for allowed in ("q", "small"):
            clients.allow(services.backend, name, allowed, actor=ADMIN)
        made.append(outsourced.Client(url=url, client=name, secret=SECRET + name))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def shop(connect: Callable[[str], outsourced.Client]) -> outsourced.Client:
    return connect("shop")


def claim(worker: RemoteWorker) -> Lease:
    (lease,) = worker.consumer.exchange(worker.request(slots=1)).leases
    return lease


def complete(worker: RemoteWorker, lease: Lease, result: str | None = None) -> None:
    outcome = Outcome(lease_id=lease.id, job_id=lease.job_id, kind=OutcomeKind.COMPLETED, result=result)
    worker.consumer.exchange(worker.request(outcomes=(outcome,)))


def test_enqueue_stores_the_job_as_the_clients(shop: outsourced.Client, services: Services) -> None:
    result = shop.enqueue(TASK, 1, 2, queue="q", priority=-3, owner=("Order", 7), countdown=60)
    job = services.backend.job(result.job_id)
    assert job is not None
    assert (job.task, job.queue, job.priority, job.state) == (TASK, "q", -3, "scheduled")
    assert job.owner is not None
    assert (job.owner.type, job.owner.id) == ("Order", "7")
    (enqueued,) = services.backend.history(result.job_id)
    assert enqueued.actor == "client:shop"


def test_client_follows_its_job_to_the_result(
    shop: outsourced.Client, worker: RemoteWorker, services: Services
) -> None:
    result = shop.enqueue(TASK, {"a": (1, 2)}, queue="q")
    assert result.state == "PENDING"
    lease = claim(worker)
    assert lease.payload == {"args": [{"a": {"$tuple": [1, 2]}}], "kwargs": {}}
    complete(worker, lease, "[3]")
    assert result.get(timeout=5) == [3]
    assert [row.event for row in result.history] == [Event.ENQUEUE, Event.CLAIM, Event.COMPLETE]


def test_enqueue_many_stores_all_or_none(shop: outsourced.Client, services: Services) -> None:
    assert len(shop.enqueue_many([(TASK, (n,), {"queue": "q"}) for n in range(20)])) == 20
    with pytest.raises(QueueFull) as full:
        shop.enqueue_many([(TASK, (n,), {"queue": "small"}) for n in range(3)])
    assert (full.value.queue, full.value.capacity, full.value.asked) == ("small", 2, 3)
    assert len(services.backend.jobs(limit=100)) == 20


@pytest.mark.parametrize("name", ["closed", "absent"])
def test_closed_and_absent_queues_are_refused_alike(shop: outsourced.Client, name: str) -> None:
    with pytest.raises(QueueForbidden) as refusal:
        shop.enqueue(TASK, queue=name)
    message = str(refusal.value).replace(name, "…")
    assert message.startswith("you may not enqueue into '…', or there is no such queue: ")
    assert "worker allow" in message


def test_deny_acts_at_the_next_request(shop: outsourced.Client, services: Services) -> None:
    shop.enqueue(TASK, queue="q")
    clients.deny(services.backend, "shop", "q", actor=ADMIN)
    with pytest.raises(QueueForbidden):
        shop.enqueue(TASK, queue="q")


def test_lock_acts_at_the_next_request(shop: outsourced.Client, services: Services) -> None:
    shop.enqueue(TASK, queue="q")
    clients.lock(services.backend, "shop", actor=ADMIN)
    with pytest.raises(WorkerLocked):
        shop.enqueue(TASK, queue="q")
    clients.unlock(services.backend, "shop", actor=ADMIN)
    shop.enqueue(TASK, queue="q")


def test_jobs_of_another_client_are_not_there(connect: Callable[[str], outsourced.Client]) -> None:
    shop, rival = connect("shop"), connect("rival")
    mine = shop.enqueue(TASK, queue="q")
    theirs = rival.AsyncResult(mine.id)
    assert not theirs.exists()
    assert list(theirs.history) == []
    theirs.revoke()
    assert mine.state == "PENDING"


def test_children_and_forget_are_of_the_clients_own_jobs(
    connect: Callable[[str], outsourced.Client], worker: RemoteWorker, services: Services
) -> None:
    shop, rival = connect("shop"), connect("rival")
    first = outsourced.signature(TASK, ("first",), queue="q")
    with shop:
        last = (first | outsourced.signature(TASK, queue="q")).delay()
    lease = claim(worker)
    worker.consumer.producer(lease).enqueue([job("a task's")])
    complete(worker, lease, "1")
    mine, theirs = shop.AsyncResult(last.parent.id), rival.AsyncResult(last.parent.id)
    assert mine.children == [last]
    assert len(services.backend.children(mine.job_id)) == 2
    assert theirs.children == []
    theirs.forget()
    assert mine.get() == 1
    mine.forget()
    with pytest.raises(outsourced.ResultPruned):
        mine.get()


def test_saved_group_is_restored_by_its_client_alone(
    connect: Callable[[str], outsourced.Client],
) -> None:
    shop, rival = connect("shop"), connect("rival")
    with shop:
        made = outsourced.group(outsourced.signature(TASK, (n,), queue="q") for n in range(3)).delay()
        made.save()
        assert outsourced.GroupResult.restore(made.id) == made
    restored = shop.restore_group(made.id)
    assert restored is not None
    assert [one.id for one in restored] == [one.id for one in made]
    assert [one.state for one in restored] == ["PENDING"] * 3  # type: ignore[union-attr]
    assert rival.restore_group(made.id) is None
    with rival:
        outsourced.GroupResult(made.id).delete()
        outsourced.GroupResult(made.id).save()
    assert shop.restore_group(made.id) == made
    restored.delete()
    assert shop.restore_group(made.id) is None


def test_revoke_cancels_the_clients_job(shop: outsourced.Client, services: Services) -> None:
    result = shop.enqueue(TASK, queue="q")
    result.revoke()
    assert result.state == "REVOKED"
    assert services.backend.history(result.job_id)[-1].actor == "client:shop"


def test_attachment_travels_with_the_job(
    shop: outsourced.Client, worker: RemoteWorker, tmp_path: Path
) -> None:
    scan = tmp_path / "scän.txt"
    scan.write_bytes(b"\0tea\r\n" * 100_000)
    shop.enqueue(TASK, queue="q", attachment=scan)
    lease = claim(worker)
    worker.consumer.fetch_attachment(lease, tmp_path / "arrived")
    assert (tmp_path / "arrived").read_bytes() == scan.read_bytes()
    assert lease.attachment is not None
    assert (lease.attachment.name, lease.attachment.content_type) == ("scän.txt", "text/plain")


def test_attachments_of_many_jobs_are_refused(shop: outsourced.Client, tmp_path: Path) -> None:
    entry = (TASK, (), {"attachment": ("a.txt", b"a"), "queue": "q"})
    with pytest.raises(PayloadError, match="one at a time"):
        shop.enqueue_many([entry, entry])


def test_saved_file_comes_back(shop: outsourced.Client, worker: RemoteWorker, tmp_path: Path) -> None:
    result = shop.enqueue(TASK, queue="q")
    lease = claim(worker)
    (tmp_path / "out.bin").write_bytes(b"x" * 3_000_000)
    worker.consumer.save_file(lease, "out.bin", tmp_path / "out.bin", "application/octet-stream")
    assert result.files["out.bin"].save(tmp_path / "copy").read_bytes() == b"x" * 3_000_000


def test_client_in_force_takes_delay(shop: outsourced.Client, services: Services, forget_tasks: None) -> None:
    @outsourced.task(name=TASK, queue="q")
    def add(x: int, y: int) -> int:
        return x + y

    with shop:
        result = add.delay(1, 2)
    assert services.backend.job(result.job_id) is not None


def test_session_is_refused(shop: outsourced.Client) -> None:
    with shop, pytest.raises(ConfigurationError, match="session="):
        outsourced.enqueue(TASK, queue="q", session=object())


# --- by hand, as any program may


@pytest.fixture
def curl(shop: outsourced.Client, client: FlaskClient) -> Callable[..., Any]:
    """Posts JSON to the jobs with the client's token."""
    answer = client.post(
        "/outsourced/oauth/token",
        data={"grant_type": "client_credentials"},
        auth=("shop", SECRET + "shop"),
    )
    token = answer.json["access_token"]

    def post(path: str = "", *, method: str = "POST", key: str | None = None, **request: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}"} | ({"Idempotency-Key": key} if key else {})
        return client.open(f"/outsourced/v1/jobs{path}", method=method, headers=headers, **request)

    return post


def test_same_key_makes_one_job(curl: Callable[..., Any], services: Services) -> None:
    first = curl(json={"task": TASK, "args": [1], "queue": "q"}, key="a")
    again = curl(json={"task": TASK, "args": [1], "queue": "q"}, key="a")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.data == again.data
    assert len(services.backend.jobs(limit=10)) == 1


def test_same_key_for_another_request_is_refused(curl: Callable[..., Any]) -> None:
    curl(json={"task": TASK, "args": [1], "queue": "q"}, key="a")
    other = curl(json={"task": TASK, "args": [2], "queue": "q"}, key="a")
    assert (other.status_code, other.json["code"]) == (422, "idempotency_key_reused")


def test_same_key_is_answered_though_the_queue_is_full_now(curl: Callable[..., Any]) -> None:
    jobs = {"jobs": [{"task": TASK, "queue": "small"}, {"task": TASK, "queue": "small"}]}
    first = curl("/batch", json=jobs, key="a")
    assert curl(json={"task": TASK, "queue": "small"}).status_code == 429
    assert curl("/batch", json=jobs, key="a").json == first.json


def test_full_queue_says_when_to_come_again(curl: Callable[..., Any]) -> None:
    for _ in range(2):
        curl(json={"task": TASK, "queue": "small"})
    answer = curl(json={"task": TASK, "queue": "small"})
    assert (answer.status_code, answer.json["code"]) == (429, "queue_full")
    assert int(answer.headers["Retry-After"]) > 0


def test_pages_go_through_all_jobs(curl: Callable[..., Any]) -> None:
    made = [curl(json={"task": TASK, "queue": "q"}).json["id"] for _ in range(5)]
    seen, cursor = [], ""
    while cursor is not None:
        page = curl(f"?limit=2{cursor and f'&cursor={cursor}'}", method="GET").json
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["cursor"]
    assert seen == made[::-1]


def test_lost_answer_makes_no_second_job(
    shop: outsourced.Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    post, posted = Transport.post, []

    def lossy(transport: Transport, *request: Any, **more: Any) -> bytes:
        answer = post(transport, *request, **more)
        posted.append(more["headers"]["Idempotency-Key"])
        if len(posted) == 1:
            raise BackendUnavailable("the answer was lost")
        return answer

    monkeypatch.setattr(Transport, "post", lossy)
    results = shop.enqueue_many([(TASK, (n,), {"queue": "small"}) for n in range(2)])  # fills it
    assert (len(posted), len(set(posted))) == (2, 1)
    assert {job.id for job in services.backend.jobs(limit=10)} == {result.job_id for result in results}


def test_same_key_twice_at_once_makes_one_job(
    shop: outsourced.Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = overview.client(services.database, "shop")
    with services.database.connect() as connection:
        identity = ClientIdentity(id=clients.id_of(connection, holder.name), name=holder.name, epoch=0)
    key = Key(text="a", fingerprint="f")
    looked = producing._answer

    def other_first(*asked: Any) -> Any:
        found = looked(*asked)
        monkeypatch.undo()
        producing.enqueue_for_client(services.backend, identity, [job("one", queue="q")], key=key)
        return found

    monkeypatch.setattr(producing, "_answer", other_first)
    ids = producing.enqueue_for_client(services.backend, identity, [job("two", queue="q")], key=key)
    (stored,) = services.backend.jobs(limit=10)
    assert ids == (stored.id,)


# --- owners


def test_client_sees_its_own_jobs_of_a_thing(
    connect: Callable[[str], outsourced.Client], services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outsourced.http.owners.PAGE", 2)
    shop, other, thing = connect("shop"), connect("other"), ("Order", "a/b c?ü")
    ids = [shop.enqueue(TASK, queue="q", owner=thing).job_id for _ in range(5)]
    other.enqueue(TASK, queue="q", owner=thing)
    shop.enqueue(TASK, queue="q", owner=("Order", "a"))

    jobs = shop.jobs_of(thing)
    assert (jobs.count(), jobs.live(), dict(jobs.by_state())) == (5, 5, {"unassigned": 5})
    assert [job.id for job in jobs] == ids[::-1]
    assert jobs.cancel() == 5
    assert dict(jobs.by_state()) == {"cancelled": 5}
    assert other.jobs_of(thing).live() == 1
    (*_, last) = services.backend.history(ids[0])
    assert (last.event, last.actor) == (Event.CANCEL, "client:shop")


def test_owner_without_jobs_has_none_for_clients(shop: outsourced.Client) -> None:
    assert not shop.jobs_of(("Nobody", 1))
    assert shop.jobs_of(("Nobody", 1)).cancel() == 0


def test_owners_are_closed_to_workers_and_strangers(phill: Colleague, client: FlaskClient) -> None:
    for method, path in (("get", "jobs"), ("post", "cancel")):
        url = f"/outsourced/v1/owners/Order/7/{path}"
        ask = getattr(client, method)
        assert ask(url).status_code == 401
        answer = ask(url, headers={"Authorization": f"Bearer {phill.token()}"})
        assert (answer.status_code, answer.json["code"]) == (403, "forbidden")


BAD_JOBS: dict[str, tuple[Any, str]] = {
    "no task": ({"queue": "q"}, "task"),
    "args no list": ({"task": TASK, "args": {}}, "args"),
    "unknown tag": ({"task": TASK, "args": [{"$pickle": "x"}]}, "args"),
    "two starts": ({"task": TASK, "runs_at": "2026-01-31T12:00:00+00:00", "runs_in": 3}, "runs_in"),
    "stuck before it runs": ({"task": TASK, "stuck_after": 0}, "stuck_after"),
    "repeats before it expires": (
        {"task": TASK, "runs_in": 5, "expires_in": 65, "repeats_after_fail": 59},
        "repeats_after_fail",
    ),
    "fails later than it completes": (
        {"task": TASK, "repeats_after_fail": 60, "repeats_after_complete": 59},
        "repeats_after_complete",
    ),
    "naive moment": ({"task": TASK, "runs_at": "2026-01-31T12:00:00"}, "runs_at"),
    "priority": ({"task": TASK, "priority": 40_000}, "priority"),
    "owner": ({"task": TASK, "owner": {"type": "Order"}}, "owner.id"),
}


@pytest.mark.parametrize(("job", "path"), BAD_JOBS.values(), ids=BAD_JOBS)
def test_bad_job_is_refused_with_its_path(curl: Callable[..., Any], job: Any, path: str) -> None:
    answer = curl(json=job)
    assert (answer.status_code, answer.json["code"], answer.json["path"]) == (422, "invalid_request", path)


def test_wrong_secret_is_refused_as_an_unknown_client_is(
    shop: outsourced.Client, client: FlaskClient
) -> None:
    answers = [
        client.post(
            "/outsourced/oauth/token", data={"grant_type": "client_credentials"}, auth=(name, "nö secret")
        )
        for name in ("shop", "nobody")
    ]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].data == answers[1].data


def test_worker_is_refused_where_clients_are_served(phill: Colleague, client: FlaskClient) -> None:
    headers = {"Authorization": f"Bearer {phill.token()}"}
    answer = client.post("/outsourced/v1/jobs", json={"task": TASK}, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (403, "forbidden")


def test_client_is_refused_where_workers_are_served(curl: Callable[..., Any], client: FlaskClient) -> None:
    token = client.post(
        "/outsourced/oauth/token",
        data={"grant_type": "client_credentials", "client_id": "shop", "client_secret": SECRET + "shop"},
    ).json["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Outsourced-Protocol": "1"}
    answer = client.post("/outsourced/v1/leases", json={}, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (403, "forbidden")


def test_unknown_client_raises_the_servers_refusal(url: str) -> None:
    client = outsourced.Client(url=url, client="nobody", secret="x" * 43)
    with pytest.raises(AuthenticationFailed):
        client.AsyncResult(uuid4()).exists()
    client.close()


def test_client_lacking_a_setting_says_which(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'url'"):
        outsourced.Client(client="shop", secret="x")
    file = tmp_path / "client.yml"
    file.write_text("client: shop\n")
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        outsourced.Client(file)


# --- tasks under their leases


def test_task_enqueues_into_the_queues_of_its_worker(worker: RemoteWorker, services: Services) -> None:
    services.backend.enqueue([job("parent", owner=("Order", 7))])
    lease = claim(worker)
    producer = worker.consumer.producer(lease)
    child = job("child")
    producer.enqueue([child])
    known = producer.job(child.id)
    assert known is not None
    assert (known.owner and known.owner.id, known.queue) == ("7", "q")
    assert services.backend.history(child.id)[0].actor == f"task:{lease.job_id}"
    assert [one.event for one in producer.history(child.id)] == [Event.ENQUEUE]


def test_task_needs_the_queue_allowed(worker: RemoteWorker, services: Services) -> None:
    queues.create(services.backend, "other", actor=ADMIN)
    services.backend.enqueue([job("parent")])
    lease = claim(worker)
    producer = worker.consumer.producer(lease)
    with pytest.raises(QueueForbidden):
        producer.enqueue([job("child", queue="other")])
    workers.allow(services.backend, "phill", "other", actor=ADMIN)
    producer.enqueue([job("child", queue="other")])


def test_task_sees_no_job_but_its_children(worker: RemoteWorker, services: Services) -> None:
    stranger = job("stranger", queue="q")
    services.backend.enqueue([job("parent")])
    lease = claim(worker)
    services.backend.enqueue([stranger])
    producer = worker.consumer.producer(lease)
    assert producer.job(stranger.id) is None
    assert producer.cancel(stranger.id) is None


def test_ended_lease_enqueues_no_more(worker: RemoteWorker, services: Services) -> None:
    services.backend.enqueue([job("parent")])
    lease = claim(worker)
    complete(worker, lease)
    with pytest.raises(outsourced.LeaseLost):
        worker.consumer.producer(lease).enqueue([job("child")])


def job(text: str, **options: Any) -> NewJob:
    return outsourced.remote(TASK).new_job((text,), **options)
