"""Enqueueing inside the host's transaction: with its commit, its rollback, its savepoints."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import outsourced
from outsourced.errors import ConfigurationError, KeyTaken, QueueFull
from outsourced.records import Changes, ExchangeRequest, Instance, WorkerIdentity
from outsourced.server.services import Services
from outsourced.sql import migrate, queues, workers
from outsourced.sql.models import Job
from tests.server.conftest import ADMIN, services_of

CAPACITY = 3
TASK = "joining.add"


class HostBase(DeclarativeBase):
    pass


class Order(HostBase):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


@pytest.fixture
def db() -> SQLAlchemy:
    return SQLAlchemy(model_class=HostBase)


@pytest.fixture
def shop(tmp_path: Path, database_url: str, db: SQLAlchemy) -> Iterator[Flask]:
    """A host with orders, and jobs in the same database: queues `q` (the default) and `small`."""
    yield from open_shop(tmp_path, db, SQLALCHEMY_DATABASE_URI=database_url)


def open_shop(folder: Path, db: SQLAlchemy, **config: Any) -> Iterator[Flask]:
    app = Flask("shop", instance_path=str(folder / "instance"))
    app.config.update(TESTING=True, SECRET_KEY="shop", **config)
    db.init_app(app)
    app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
    services = services_of(app)
    with app.app_context():
        migrate.upgrade(services.database)
        db.create_all()
        queues.create(services.backend, "q", actor=ADMIN)
        queues.create(services.backend, "small", capacity=CAPACITY, actor=ADMIN)
        workers.create(services.backend, "w", actor=ADMIN)
        for queue in ("q", "small"):
            workers.hire(services.backend, "w", queue, actor=ADMIN)
        yield app
        db.session.remove()
        db.engine.dispose()
    services.stop()


@pytest.fixture
def services(shop: Flask) -> Services:
    return services_of(shop)


@pytest.fixture
def woken(services: Services) -> list[Changes]:
    """What workers were woken for."""
    heard: list[Changes] = []
    services.backend.notify = heard.append
    return heard


def order(db: SQLAlchemy, text: str = "tea") -> None:
    db.session.add(Order(text=text))
    db.session.flush()


def add(db: SQLAlchemy, **options: Any) -> outsourced.AsyncResult[Any]:
    return outsourced.enqueue(TASK, 1, 2, session=db.session, **options)


def claimed(services: Services) -> int:
    """How many jobs a worker gets now."""
    request = ExchangeRequest(
        instance=Instance(id=uuid4(), host="h", pid=1, version="0"), claim_id=uuid4(), slots=50, tasks=(TASK,)
    )
    return len(services.backend.exchange(WorkerIdentity(id=1, name="w", epoch=0), request).leases)


def depth(services: Services) -> int:
    with services.database.connect() as connection:
        return connection.scalar(select(func.count()).select_from(Job)) or 0


def test_commit_makes_the_job_and_wakes_workers(
    db: SQLAlchemy, services: Services, woken: list[Changes]
) -> None:
    order(db)
    result = add(db)
    assert not result.exists()
    assert not woken
    db.session.commit()
    assert result.exists()
    assert [changes.ready for changes in woken] == [{("q", TASK): 1}]
    assert claimed(services) == 1


def test_rollback_leaves_neither_order_nor_job(
    db: SQLAlchemy, services: Services, woken: list[Changes]
) -> None:
    order(db)
    result = add(db)
    db.session.rollback()
    db.session.commit()
    assert not result.exists()
    assert db.session.query(Order).count() == 0
    assert not woken


def test_job_after_a_rollback_is_found_by_workers(db: SQLAlchemy, services: Services) -> None:
    add(db)  # the first job ever of this task: its name goes with the rollback, or stays for good
    db.session.rollback()
    outsourced.enqueue(TASK, 1, 2)
    assert claimed(services) == 1


def test_delay_on_commit_joins_the_session_of_the_app(
    db: SQLAlchemy, services: Services, forget_tasks: None
) -> None:
    @outsourced.task(name=TASK)
    def plus(x: int, y: int) -> int:
        return x + y

    result = plus.delay_on_commit(1, 2)
    assert not result.exists()
    db.session.commit()
    assert result.exists()


def test_session_without_a_transaction_begins_one(db: SQLAlchemy, services: Services) -> None:
    with Session(db.engine) as session:
        outsourced.enqueue_many([(TASK, (1, 2)), (TASK, (3, 4))], session=session)
        assert depth(services) == 0
        session.commit()
    assert depth(services) == 2


def test_attachment_arrives_with_the_commit(db: SQLAlchemy, services: Services, tmp_path: Path) -> None:
    (tmp_path / "scan.txt").write_text("tea")
    result = add(db, attachment=tmp_path / "scan.txt")
    db.session.commit()
    assert result.exists()
    with services.database.connect() as connection:
        assert connection.scalar(select(Job.has_attachment))


@pytest.fixture
def with_savepoints(services: Services, db: SQLAlchemy) -> None:
    """On SQLite, savepoints work only with what SQLAlchemy's documentation tells to do about its driver."""
    if db.engine.dialect.name == "sqlite":
        db.session.remove()
        db.engine.dispose()

        @event.listens_for(db.engine, "connect")
        def leave_it_to_us(connection: Any, record: Any) -> None:
            connection.isolation_level = None

        @event.listens_for(db.engine, "begin")
        def begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN")


def test_savepoint_rolled_back_takes_its_job_along(
    db: SQLAlchemy, services: Services, with_savepoints: None, woken: list[Changes]
) -> None:
    order(db)
    kept = add(db)
    savepoint = db.session.begin_nested()
    order(db, "coffee")
    lost = add(db)
    savepoint.rollback()
    with db.session.begin_nested():
        also_kept = add(db)
    assert not woken
    db.session.commit()
    assert [job.exists() for job in (kept, lost, also_kept)] == [True, False, True]
    assert db.session.query(Order).count() == 1
    assert len(woken) == 1


def test_full_queue_refuses_at_the_call_and_spares_the_transaction(
    db: SQLAlchemy, services: Services
) -> None:
    order(db)
    for _ in range(CAPACITY):
        add(db, queue="small")
    with pytest.raises(QueueFull):
        add(db, queue="small")
    db.session.commit()
    assert depth(services) == CAPACITY
    assert db.session.query(Order).count() == 1


def test_taken_key_refuses_at_the_call_and_spares_the_transaction(db: SQLAlchemy, services: Services) -> None:
    outsourced.enqueue(TASK, 1, 2, unique_key="tea")
    order(db)
    with pytest.raises(KeyTaken):
        add(db, unique_key="tea")
    db.session.commit()
    assert db.session.query(Order).count() == 1


@pytest.mark.postgres
def test_queue_that_fills_meanwhile_refuses_at_the_commit(
    tmp_path: Path, postgres_url: str, db: SQLAlchemy
) -> None:
    for app in open_shop(tmp_path, db, SQLALCHEMY_DATABASE_URI=postgres_url):
        services = services_of(app)
        order(db)
        mine = add(db, queue="small")
        others = [outsourced.enqueue(TASK, 1, 2, queue="small") for _ in range(CAPACITY)]
        with pytest.raises(QueueFull) as full:
            db.session.commit()
        assert (full.value.capacity, full.value.asked, full.value.free) == (CAPACITY, 1, 0)
        assert depth(services) == CAPACITY
        others[0].revoke()
        db.session.commit()  # nothing was lost: there is room now
        assert mine.exists()
        assert db.session.query(Order).count() == 1


@pytest.mark.postgres
def test_limit_given_to_the_queue_meanwhile_refuses_at_the_commit(
    tmp_path: Path, postgres_url: str, db: SQLAlchemy
) -> None:
    for app in open_shop(tmp_path, db, SQLALCHEMY_DATABASE_URI=postgres_url):
        services = services_of(app)
        add(db)
        queues.change(services.backend, "q", capacity=10, actor=ADMIN)
        with pytest.raises(outsourced.QueueBusy):
            db.session.commit()
        db.session.rollback()
        assert depth(services) == 0


def test_bound_holds_at_every_commit(db: SQLAlchemy, shop: Flask, services: Services) -> None:
    start = threading.Barrier(6)
    refused: list[QueueFull] = []

    def produce() -> None:
        with Session(engine) as session:
            start.wait()
            for _ in range(3):
                try:
                    with shop.app_context():
                        outsourced.enqueue(TASK, 1, 2, queue="small", session=session)
                    session.commit()
                except QueueFull as full:
                    refused.append(full)
                    session.rollback()

    engine = db.engine
    threads = [threading.Thread(target=produce) for _ in range(start.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert depth(services) == CAPACITY
    assert len(refused) == start.parties * 3 - CAPACITY


@pytest.mark.postgres
def test_open_transaction_delays_no_worker_and_no_producer(
    tmp_path: Path, postgres_url: str, db: SQLAlchemy
) -> None:
    for app in open_shop(tmp_path, db, SQLALCHEMY_DATABASE_URI=postgres_url):
        services = services_of(app)
        add(db, queue="small")
        outsourced.enqueue(TASK, 1, 2, queue="small")
        assert claimed(services) == 1
        db.session.commit()
        assert claimed(services) == 1


@pytest.mark.postgres
def test_snapshot_isolation_is_refused(tmp_path: Path, postgres_url: str, db: SQLAlchemy) -> None:
    options = {"isolation_level": "REPEATABLE READ"}
    for _ in open_shop(tmp_path, db, SQLALCHEMY_DATABASE_URI=postgres_url, SQLALCHEMY_ENGINE_OPTIONS=options):
        with pytest.raises(ConfigurationError, match="READ COMMITTED"):
            add(db)


def test_session_on_another_database_is_refused(tmp_path: Path, database_url: str, db: SQLAlchemy) -> None:
    elsewhere = f"sqlite:///{tmp_path}/elsewhere.sqlite"
    for _ in open_shop(tmp_path, db, SQLALCHEMY_DATABASE_URI=elsewhere, OUTSOURCED_DATABASE_URL=database_url):
        with pytest.raises(ConfigurationError, match="OUTSOURCED_DATABASE_URL"):
            add(db)


def test_host_without_a_session_is_told_so(tmp_path: Path, database_url: str) -> None:
    app = Flask("plain", instance_path=str(tmp_path))
    app.config.update(TESTING=True, SECRET_KEY="x", OUTSOURCED_DATABASE_URL=database_url)
    app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
    with app.app_context(), pytest.raises(ConfigurationError, match="session="):
        outsourced.remote(TASK).delay_on_commit(1, 2)
    services_of(app).stop()


def test_session_that_is_none_is_a_type_error(shop: Flask) -> None:
    with pytest.raises(TypeError, match="session="):
        outsourced.enqueue(TASK, 1, 2, session=object())


def test_in_memory_database_joins_too(tmp_path: Path, db: SQLAlchemy) -> None:
    for app in open_shop(tmp_path, db, SQLALCHEMY_DATABASE_URI="sqlite://"):
        order(db)
        lost = add(db)
        db.session.rollback()
        order(db)
        kept = add(db)
        db.session.commit()
        assert (lost.exists(), kept.exists()) == (False, True)
        assert db.session.query(Order).count() == 1
        assert claimed(services_of(app)) == 1
