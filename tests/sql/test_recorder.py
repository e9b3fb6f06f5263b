"""Nothing but the moves of `lifecycle` writes a job's state, whatever anybody does; enqueueing inserts it."""

from __future__ import annotations

import importlib
import inspect
import io
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any
from uuid import uuid4

import pytest
from joserfc.jwk import ECKey
from sqlalchemy import Engine, create_engine, select, update
from sqlalchemy.orm import Session

import outsourced.sql
from outsourced.app.periodic import Entry
from outsourced.errors import WorkerLocked
from outsourced.records import (
    ClientIdentity,
    Edge,
    EdgeKind,
    ExchangeRequest,
    NewFile,
    OutcomeKind,
    Owner,
    Progress,
    Told,
)
from outsourced.schedules import schedule
from outsourced.sql import (
    clients,
    endings,
    limits,
    maintenance,
    producing,
    queues,
    recurring,
    retention,
    storage_mark,
    workers,
)
from outsourced.sql.backend import SqlBackend
from outsourced.sql.consumer import SqlConsumer
from outsourced.sql.models import Job
from outsourced.storage import LocalStorage
from tests.sql.conftest import TASK, Site, new_job, outcome, pass_time
from tests.sql.edges import RECIPES
from tests.sql.recorder import move_of, recorded, writes_state
from tests.sql.test_moves import ALL

ACTOR = "admin:test"


def verbs() -> dict[CodeType, str]:
    """Whatever may be done to a backend: its methods, and public functions and methods that take one."""
    found = {function.__code__: name for name, function in public_functions(SqlBackend)}
    for module in pkgutil.iter_modules(outsourced.sql.__path__, "outsourced.sql."):
        members = importlib.import_module(module.name)
        for owner in (members, *(one for _, one in inspect.getmembers(members, inspect.isclass))):
            for name, function in public_functions(owner):
                first = [one for one in inspect.signature(function).parameters if one != "self"][:1]
                if first == ["backend"]:
                    found[function.__code__] = f"{function.__module__}.{name}"
    return found


def public_functions(owner: object) -> list[tuple[str, FunctionType]]:
    functions = inspect.getmembers(owner, inspect.isfunction)
    return [(name, function) for name, function in functions if not name.startswith("_")]


@contextmanager
def watched() -> Iterator[set[CodeType]]:
    """The code of every Python function that is called inside the block."""
    called: set[CodeType] = set()

    def note(frame: FrameType, what: str, argument: object) -> None:
        if what == "call":
            called.add(frame.f_code)

    before: Any = sys.getprofile()
    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(before)


def a_day(backend: SqlBackend, near: Site) -> None:
    """Everything anybody can do, at least once."""
    for recipe in RECIPES.values():
        recipe.cook(near)
    for part in (
        with_files,
        losing_a_process,
        repeating,
        a_canvas,
        hiring_and_firing,
        locking,
        opening_queues,
        producing_elsewhere,
        working_beside_the_database,
        looking,
        recurring_jobs,
        limiting,
        ending_for_good,
    ):
        part(backend, near)
    pass_time(backend, 100)
    maintenance.tick(backend)


def with_files(backend: SqlBackend, near: Site) -> None:
    assert backend.storage is not None
    storage_mark.adopt(backend, actor="admin:test")
    backend.enqueue([new_job(attachment=NewFile(open=lambda: io.BytesIO(b"in"), filename="in"))])
    (lease,) = near.claim()
    backend.require_lease(near.identity, lease.id)
    backend.attachment(near.identity, lease.id)
    stored = backend.require_storage().store(io.BytesIO(b"out"))
    bytes_of = {"key": stored.key, "size": stored.size, "sha256": stored.sha256}
    backend.save_file(near.identity, lease.id, "out", content_type="text/plain", **bytes_of)
    near.settle(lease, OutcomeKind.COMPLETED, result="3")
    assert backend.saved_file(lease.job_id, "out")[1] == stored.key
    with backend.open_file(lease.job_id, "out") as stream:
        assert stream.read() == b"out"


def losing_a_process(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job(max_losses=0)])
    (lease,) = near.claim()
    near.begin(lease)
    told = Told(lease_id=lease.id, job_id=lease.job_id, number=1, progress=Progress(state="PROGRESS"))
    near.say(progress=(told,))
    near.settle(lease, OutcomeKind.LOST)


def repeating(backend: SqlBackend, near: Site) -> None:
    soon = timedelta(seconds=10)
    backend.enqueue([new_job(stuck_after=soon, repeats_after_fail=soon, max_losses=0)])
    (lease,) = near.claim()
    near.begin(lease)
    pass_time(backend, 11)
    assert maintenance.rescue(backend)  # and whatever has lapsed by now


def a_canvas(backend: SqlBackend, near: Site) -> None:
    first = new_job()
    second = new_job(after=(Edge(upstream=first.id),))
    errback = new_job(after=(Edge(upstream=first.id, kind=EdgeKind.ERROR),))
    backend.enqueue([first, second, errback])
    while leases := near.claim():
        for lease in leases:
            near.settle(lease, OutcomeKind.COMPLETED)


def hiring_and_firing(backend: SqlBackend, near: Site) -> None:
    workers.create(backend, "third", actor=ACTOR)
    key = ECKey.generate_key("P-256").as_dict(private=False)
    workers.revoke(backend, "third", workers.add_credential(backend, "third", key, actor=ACTOR), actor=ACTOR)
    workers.reset(backend, "third", actor=ACTOR)
    for jobs in ("finish", "release", "cancel"):
        workers.hire(backend, "near", "plain", actor=ACTOR)
        backend.enqueue([new_job(), new_job()])
        begun, *_ = near.claim()
        near.begin(begun)
        workers.fire(backend, "near", "plain", actor=ACTOR, jobs=jobs)
    workers.hire(backend, "near", "plain", actor=ACTOR)
    workers.pause(backend, "near", actor=ACTOR)
    workers.resume(backend, "near", actor=ACTOR)


def locking(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job(), new_job()])
    begun, *_ = near.claim()
    near.begin(begun)
    workers.lock(backend, "near", actor=ACTOR)
    with pytest.raises(WorkerLocked):
        near.claim()
    workers.unlock(backend, "near", actor=ACTOR)


def opening_queues(backend: SqlBackend, near: Site) -> None:
    queues.create(backend, "another", actor=ACTOR)
    queues.pause(backend, "plain", actor=ACTOR)
    queues.resume(backend, "plain", actor=ACTOR)
    for capacity in (5, 1000, 0):
        queues.change(backend, "plain", capacity=capacity, actor=ACTOR)


def ending_for_good(backend: SqlBackend, near: Site) -> None:
    backend.empty_queues()
    workers.create(backend, "leaver", actor=ACTOR)
    workers.destroy(backend, "leaver", jobs="release", actor=ACTOR)
    queues.create(backend, "gone", actor=ACTOR)
    workers.hire(backend, "near", "gone", actor=ACTOR)
    backend.enqueue([new_job(queue="gone"), new_job(queue="gone")])
    (lease, *_) = near.claim(slots=1)
    queues.empty(backend, "gone", held="cancel", actor=ACTOR)
    near.settle(lease, OutcomeKind.CANCELLED)
    queues.destroy(backend, "gone", actor=ACTOR)


def producing_elsewhere(backend: SqlBackend, near: Site) -> None:
    clients.create(backend, "shop", actor=ACTOR)
    clients.add_secret(backend, "shop", "a secret that is long enough", actor=ACTOR)
    clients.allow(backend, "shop", "plain", actor=ACTOR)
    with backend.database.connect() as connection:
        shop = ClientIdentity(id=clients.id_of(connection, "shop"), name="shop", epoch=0)
    key = producing.Key(text="1", fingerprint="1")
    producing.enqueue_for_client(backend, shop, [new_job()], key=key)
    producing.listing(backend, shop, before=None, limit=1)
    producing.count_of(backend, shop, Owner(type="Order", id="7"))
    producing.cancel_of(backend, shop, Owner(type="Order", id="7"))
    clients.deny(backend, "shop", "plain", actor=ACTOR)
    (lease, *_) = near.claim()
    child = new_job()
    producing.enqueue_under_lease(backend, near.identity, lease.id, [child], key=key)
    assert producing.child(backend, near.identity, lease.id, child.id) is not None
    assert backend.children(lease.job_id, producing.of_parent(lease.job_id)) == [child.id]


def working_beside_the_database(backend: SqlBackend, near: Site) -> None:
    consumer = SqlConsumer(backend, "near")
    claim = ExchangeRequest(instance=near.instance, claim_id=uuid4(), slots=1, tasks=(TASK,))
    (lease,) = consumer.exchange(claim).leases
    child = new_job()
    consumer.producer(lease).enqueue([child])
    consumer.producer(lease).cancel(child.id)
    consumer.exchange(
        ExchangeRequest(instance=near.instance, outcomes=(outcome(lease, OutcomeKind.COMPLETED),))
    )


def looking(backend: SqlBackend, near: Site) -> None:
    job = new_job()
    backend.enqueue([job])
    backend.jobs(queue="plain")
    assert len(backend.history(job.id)) == 1
    assert backend.find_job(job.id, Job.attempt > 0) is None
    backend.wait(job.id, timeout=0)
    assert backend.children(job.id) == []
    assert backend.forget(job.id) is not None
    backend.save_group(job.id, "[]")
    assert backend.group(job.id) == "[]"
    backend.forget_group(job.id)
    owner = Owner(type="Order", id="7")
    assert (backend.count_of(owner), list(backend.jobs_of(owner)), backend.cancel_of(owner)) == (
        {},
        [],
        (0, 0),
    )
    backend.staff()
    backend.known_tasks()
    endings.listen(backend, ["Order"])
    endings.deliver(backend, ["Order"], print)
    backend.queues_of(near.identity)
    for duty in (maintenance.promote, maintenance.rescue, maintenance.expire, retention.prune):
        duty(backend)


def recurring_jobs(backend: SqlBackend, near: Site) -> None:
    entries = [Entry(name="minutely", task=TASK, schedule=schedule(60), args=(1, 2))]
    recurring.declare(backend, entries, zone="UTC", declared_by="shop")
    recurring.pause(backend, "minutely", actor=ACTOR)
    recurring.resume(backend, "minutely", actor=ACTOR)
    recurring.run(backend, "minutely", actor=ACTOR)
    pass_time(backend, 61)
    assert recurring.tick(backend) == 1


def limiting(backend: SqlBackend, near: Site) -> None:
    limits.declare(backend, {TASK: "1000/s"})
    backend.limit_task(TASK, "2000/s")
    backend.limit_queue("plain", "100/s")
    backend.enqueue([new_job()])
    assert near.claim()
    backend.limit_queue("plain", 0)
    backend.limit_task(TASK, 0)
    backend.fire("near", "plain")
    backend.hire("near", "plain")


def joining(backend: SqlBackend, host: Engine) -> None:
    with Session(host) as session:
        backend.enqueue([new_job()], session=session)
        session.commit()


def test_nothing_but_moves_writes_state(backend: SqlBackend, near: Site, tmp_path: Path) -> None:
    backend.storage = LocalStorage(tmp_path / "files")
    host = create_engine(backend.database.engine.url)
    with recorded(backend.database.engine, host) as statements, watched() as called:
        a_day(backend, near)
        joining(backend, host)

    assert {name for code, name in verbs().items() if code not in called} == set()
    moves = {
        statement: move_of(backend.database, statement) for statement in statements if writes_state(statement)
    }
    assert [statement for statement, move in moves.items() if move is None] == []
    assert set(moves.values()) == {*ALL, "enqueue"}


@pytest.mark.tampers
@pytest.mark.parametrize(
    "write",
    [
        lambda connection: connection.execute(update(Job).values(state="completed")),
        lambda connection: connection.exec_driver_sql(
            "update outsourced_jobs set reason = '', state='failed'"
        ),
        lambda connection: connection.exec_driver_sql(
            "INSERT INTO outsourced_jobs (id) SELECT id FROM outsourced_jobs WHERE 1 = 0"
        ),
    ],
    ids=["by SQLAlchemy", "by hand", "by insert"],
)
def test_recorder_hears_of_any_other_write(backend: SqlBackend, write: Callable[[Any], object]) -> None:
    backend.enqueue([new_job()])
    with recorded(backend.database.engine) as statements, backend.database.connect() as connection:
        connection.execute(select(Job.state)).all()
        write(connection)

    (rogue,) = [statement for statement in statements if writes_state(statement)]
    assert move_of(backend.database, rogue) is None
