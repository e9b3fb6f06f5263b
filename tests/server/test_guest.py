"""The blueprint as a guest: the host's routes, errors, session, engine and tests go on as before."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask, session
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFProtect  # type: ignore[import-untyped]
from sqlalchemy import create_engine, func, inspect, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import outsourced
from outsourced import backend
from outsourced.errors import ConfigurationError, QueueFull
from outsourced.payload import encode_call
from outsourced.records import NewJob
from outsourced.server.blueprint import bp
from outsourced.server.services import Services
from outsourced.sql import migrate, queues
from outsourced.sql.backend import SqlBackend
from outsourced.sql.models import Job
from tests.server.conftest import ADMIN, services_of


class HostBase(DeclarativeBase):
    pass


class Note(HostBase):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


def make_host(folder: Path, *, mount: bool = True, **config: Any) -> Flask:
    """An app of somebody's, with routes, an error page and a session of its own."""
    app = Flask("host", instance_path=str(folder / "instance"))
    app.config.update(TESTING=True, SECRET_KEY="host", **config)

    @app.get("/")
    def home() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return f"visit {session['visits']}"

    @app.get("/broken")
    def broken() -> str:
        raise QueueFull("the host raised it itself")

    @app.errorhandler(404)
    def lost(error: Exception) -> tuple[str, int]:
        return "the host's own page", 404

    if mount:
        app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
    return app


@pytest.fixture
def running() -> Iterator[list[Services]]:
    """Services to stop at the end."""
    found: list[Services] = []
    yield found
    for services in found:
        services.stop()


def set_up(app: Flask, running: list[Services]) -> Services:
    services = services_of(app)
    running.append(services)
    migrate.upgrade(services.database)
    queues.create(services.backend, "q", actor=ADMIN)
    return services


def set_up_in_memory(app: Flask) -> SqlBackend:
    services = services_of(app)
    with app.app_context():
        migrate.upgrade(services.database)
        queues.create(services.backend, "q", actor=ADMIN)
    return services.backend


def new_job() -> NewJob:
    return NewJob(id=uuid4(), task="t", payload=encode_call((), {}), queue="q")


def host_with_db(folder: Path, url: str) -> tuple[Flask, SQLAlchemy]:
    app = make_host(folder, SQLALCHEMY_DATABASE_URI=url)
    db = SQLAlchemy(app, model_class=HostBase)
    with app.app_context():
        db.create_all()
    return app, db


def forget(app: Flask) -> None:
    """Flask-SQLAlchemy leaves its pool open."""
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


# --- routes, errors, sessions ----------------------------------------------------------------------------


def test_host_routes_answer_as_before(tmp_path: Path) -> None:
    with make_host(tmp_path).test_client() as client:
        assert [client.get("/").text for _ in range(2)] == ["visit 1", "visit 2"]
        assert client.get("/outsourced/nowhere").status_code == 404
        assert client.get("/").text == "visit 3"


def test_host_keeps_its_error_pages(tmp_path: Path) -> None:
    client = make_host(tmp_path).test_client()
    assert client.get("/nowhere").text == "the host's own page"
    assert client.get("/outsourcedx").text == "the host's own page"
    assert client.get("/.well-known/nowhere").text == "the host's own page"
    with pytest.raises(QueueFull):
        client.get("/broken")
    assert client.post("/").status_code == 405
    assert client.post("/").content_type == "text/html; charset=utf-8"


def test_unknown_urls_under_the_prefix_are_problems(tmp_path: Path) -> None:
    client = make_host(tmp_path).test_client()
    for path in ("/outsourced/nowhere", "/outsourced/v1/nowhere", "/outsourced/oauth/token/x"):
        answer = client.get(path)
        assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
        assert answer.json is not None
        assert answer.json["code"] == "not_found"
    wrong = client.delete("/outsourced/healthz")
    assert (wrong.status_code, wrong.content_type) == (405, "application/problem+json")
    assert set(wrong.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert client.options("/outsourced/nowhere").status_code == 404


def test_our_answers_set_no_cookie(tmp_path: Path) -> None:
    client = make_host(tmp_path).test_client()
    assert "Set-Cookie" not in client.get("/outsourced/").headers


def test_mounted_at_the_root_it_leaves_the_hosts_404(tmp_path: Path) -> None:
    app = make_host(tmp_path, mount=False)
    app.register_blueprint(outsourced.bp, url_prefix="/")
    assert app.test_client().get("/nowhere").text == "the host's own page"


def test_bug_in_a_view_of_ours_is_logged_once_and_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_host(tmp_path)

    def burst() -> str:
        raise ZeroDivisionError("a secret")

    monkeypatch.setitem(app.view_functions, "outsourced.index", burst)
    answer = app.test_client().get("/outsourced/")
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert "secret" not in answer.text
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_csrf_protection_of_the_host_spares_our_clients(tmp_path: Path) -> None:
    for early in (True, False):
        app = make_host(tmp_path, mount=not early)
        CSRFProtect(app)
        if early:
            app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
        app.add_url_rule("/form", view_func=lambda: "sent", methods=["POST"], endpoint="form")
        client = app.test_client()
        assert client.post("/outsourced/nowhere").status_code == 404
        assert client.post("/form").status_code == 400


# --- set-up ----------------------------------------------------------------------------------------------


def test_blueprint_sets_the_app_up_by_itself(tmp_path: Path) -> None:
    app = make_host(tmp_path)
    assert isinstance(app.extensions["outsourced"], Services)
    assert outsourced.bp is bp


def test_app_that_nobody_needs_any_more_is_forgotten(tmp_path: Path) -> None:
    app = weakref.ref(make_host(tmp_path))
    gc.collect()
    assert app() is None


def test_explicit_extension_first_wins(tmp_path: Path) -> None:
    app = make_host(tmp_path, mount=False)
    outsourced.Outsourced(app, db="a db of mine")
    services = services_of(app)
    app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
    assert services_of(app) is services
    assert services.db == "a db of mine"


def test_second_extension_is_refused(tmp_path: Path) -> None:
    app = make_host(tmp_path)
    with pytest.raises(ConfigurationError, match="once, and before"):
        outsourced.Outsourced(app)


def test_one_extension_serves_several_apps(tmp_path: Path, running: list[Services]) -> None:
    extension = outsourced.Outsourced()
    apps = [make_host(tmp_path / name, mount=False) for name in ("one", "other")]
    for app in apps:
        extension.init_app(app)
        app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
    one, other = (set_up(app, running) for app in apps)
    one.backend.enqueue([new_job()])
    assert (len(one.backend.jobs()), len(other.backend.jobs())) == (1, 0)


def test_two_apps_in_one_process_keep_apart(tmp_path: Path, running: list[Services]) -> None:
    one, other = make_host(tmp_path / "one"), make_host(tmp_path / "other")
    for app in (one, other):
        set_up(app, running)
    with one.app_context():
        backend.current().enqueue([new_job()])
    with other.app_context():
        assert backend.current() is services_of(other).backend
    assert len(services_of(one).backend.jobs()) == 1
    assert services_of(other).backend.jobs() == []


def test_app_without_db_uses_a_file_in_the_instance_folder(tmp_path: Path, running: list[Services]) -> None:
    app = make_host(tmp_path)
    set_up(app, running)
    assert (tmp_path / "instance" / "outsourced.sqlite3").exists()
    assert services_of(app).db is None


# --- the host's database ---------------------------------------------------------------------------------


def test_host_database_is_used_through_an_engine_of_our_own(tmp_path: Path, running: list[Services]) -> None:
    app, db = host_with_db(tmp_path, "sqlite:///host.sqlite3")
    services = set_up(app, running)
    with app.app_context():
        assert services.database.engine is not db.engine
        assert services.database.engine.url.database == db.engine.url.database
        assert "outsourced_jobs" in inspect(db.engine).get_table_names()
        services.backend.enqueue([new_job()])
        assert db.session.scalar(select(func.count()).select_from(Job)) == 1
        with db.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 0
    forget(app)


def test_enqueue_beside_an_open_write_of_the_session_raises_at_once(
    tmp_path: Path, running: list[Services]
) -> None:
    app, db = host_with_db(tmp_path, "sqlite:///host.sqlite3")
    services = set_up(app, running)
    with app.app_context():
        db.session.add(Note(text="not committed"))
        services.backend.enqueue([new_job()])  # not flushed: nothing is locked yet
        db.session.flush()
        with pytest.raises(ConfigurationError, match="commit"):
            services.backend.enqueue([new_job()])
        db.session.commit()
        services.backend.enqueue([new_job()])
        db.session.scalars(select(Note)).all()
        services.backend.enqueue([new_job()])  # having read is not having written
        db.session.add(Note(text="another"))
        db.session.flush()
        thread = threading.Thread(target=enqueue_in, args=(app, db))
        thread.start()
        db.session.rollback()
        thread.join(10)
    assert len(services.backend.jobs()) == 4
    forget(app)


def enqueue_in(app: Flask, db: SQLAlchemy) -> None:
    with app.app_context():  # a session of its own, without a write
        services_of(app).backend.enqueue([new_job()])


def test_open_write_to_another_file_does_not_stop_enqueue(tmp_path: Path, running: list[Services]) -> None:
    app = make_host(
        tmp_path,
        SQLALCHEMY_DATABASE_URI="sqlite:///host.sqlite3",
        OUTSOURCED_DATABASE_URL="sqlite:///jobs.sqlite3",
    )
    db = SQLAlchemy(app, model_class=HostBase)
    services = set_up(app, running)
    with app.app_context():
        db.create_all()
        db.session.add(Note(text="not committed"))
        db.session.flush()
        services.backend.enqueue([new_job()])
        db.session.rollback()
    assert len(services.backend.jobs()) == 1
    forget(app)


def test_in_memory_database_shares_the_hosts_engine(tmp_path: Path) -> None:
    app, db = host_with_db(tmp_path, "sqlite://")
    services = services_of(app)
    with app.app_context():
        migrate.upgrade(services.database)
        assert services.database.engine is db.engine
        queues.create(services.backend, "q", actor=ADMIN)
        services.backend.enqueue([new_job()])
        db.session.rollback()
        assert db.session.scalar(select(func.count()).select_from(Job)) == 1
        db.session.rollback()
    forget(app)


def test_looking_at_jobs_leaves_an_open_transaction_in_memory_alone(tmp_path: Path) -> None:
    app, db = host_with_db(tmp_path, "sqlite://")
    backend = set_up_in_memory(app)
    with app.app_context():
        db.session.add(Note(text="flushed"))
        db.session.flush()
        assert backend.jobs() == []
        with pytest.raises(ConfigurationError, match="commit"):
            backend.enqueue([new_job()])
        db.session.commit()
        assert db.session.scalar(select(func.count()).select_from(Note)) == 1
        db.session.rollback()
    forget(app)


def test_delay_in_memory_survives_the_rollback_of_the_session(tmp_path: Path, forget_tasks: None) -> None:
    app, db = host_with_db(tmp_path, "sqlite://")
    backend = set_up_in_memory(app)
    task = outsourced.task(lambda: None, name="t", queue="q")
    with app.app_context():
        db.session.add(Note(text="not flushed"))
        task.delay()
        db.session.rollback()
        db.session.scalars(select(Note)).all()
        task.delay()  # having read is not having written
        db.session.rollback()
        assert db.session.scalar(select(func.count()).select_from(Note)) == 0
        assert len(backend.jobs()) == 2
        db.session.rollback()
    forget(app)


def test_every_write_beside_an_open_one_of_the_session_raises_at_once(
    tmp_path: Path, running: list[Services]
) -> None:
    app, db = host_with_db(tmp_path, "sqlite:///host.sqlite3")
    services = set_up(app, running)
    job = new_job()
    services.backend.enqueue([job])
    with app.app_context():
        db.session.add(Note(text="flushed"))
        db.session.flush()
        with pytest.raises(ConfigurationError, match="commit"):
            outsourced.AsyncResult(job.id).revoke()
        db.session.commit()
        outsourced.AsyncResult(job.id).revoke()
    forget(app)


def test_exhausted_pool_of_the_host_does_not_stop_enqueue(
    tmp_path: Path, running: list[Services], database_url: str
) -> None:
    app, db = host_with_db(tmp_path, database_url)
    services = set_up(app, running)
    threads = 15  # as many as a pool has connections, by default
    all_hold = threading.Barrier(threads + 1)

    def hold_and_enqueue() -> None:
        with app.app_context():
            db.session.scalars(select(Note)).all()
            all_hold.wait(30)
            services.backend.enqueue([new_job()])
            all_hold.wait(30)  # none lets its connection go before all have enqueued

    with ThreadPoolExecutor(threads) as pool:
        holders = [pool.submit(hold_and_enqueue) for _ in range(threads)]
        all_hold.wait(30)
        with app.app_context():
            assert db.engine.pool.checkedout() == threads
        all_hold.wait(30)
    assert [holder.result() for holder in holders] == [None] * threads
    assert len(services.backend.jobs()) == threads
    forget(app)


def test_in_memory_database_without_db_is_our_own(tmp_path: Path, running: list[Services]) -> None:
    app = make_host(tmp_path, OUTSOURCED_DATABASE_URL="sqlite://")
    services = set_up(app, running)
    services.backend.enqueue([new_job()])
    assert len(services.backend.jobs()) == 1


def test_session_of_the_host_writes_while_we_read(tmp_path: Path, running: list[Services]) -> None:
    app, db = host_with_db(tmp_path, "sqlite:///host.sqlite3")
    services = set_up(app, running)
    with app.app_context():
        db.session.add(Note(text="not committed"))
        db.session.flush()
        assert services.backend.jobs() == []
        db.session.commit()
    engine = create_engine(services.settings.database_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM notes").scalar() == 1
    engine.dispose()
    forget(app)


# --- the backend in force --------------------------------------------------------------------------------


def test_backend_is_that_of_the_current_app(tmp_path: Path, running: list[Services]) -> None:
    app = make_host(tmp_path)
    set_up(app, running)
    with app.app_context():
        assert backend.current() is services_of(app).backend
    with Flask("stranger").app_context(), pytest.raises(ConfigurationError, match="register_blueprint"):
        backend.current()
