"""Health, problems and the background threads of a serving process."""

from __future__ import annotations

import io
import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from outsourced import errors
from outsourced.server import problems, signing
from outsourced.server.services import Services
from outsourced.sql import installation, migrate
from tests.server.conftest import SECRET, URL, make_app, services_of

#: for what the database has no part in
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def problem(app: Flask, error: errors.OutsourcedError, **request: Any) -> Any:
    with app.test_request_context("/outsourced/", **request):
        return problems.from_error(error)


# --- health ----------------------------------------------------------------------------------------------


def test_health_is_red_before_the_first_tick_and_green_after(services: Services, client: FlaskClient) -> None:
    red = client.get("/outsourced/healthz")
    assert red.status_code == 503
    assert red.json == {
        "status": "red",
        "troubles": ["no server has done the background duties yet"],
        "last_tick": None,
        "last_tick_age": None,
    }
    services.janitor.tick()
    green = client.get("/outsourced/healthz")
    assert green.status_code == 200
    assert green.json is not None
    assert green.json["status"] == "green"
    assert 0 <= green.json["last_tick_age"] < 15


def test_health_is_red_after_three_missed_ticks(services: Services, client: FlaskClient) -> None:
    services.janitor.tick()
    services.database.clock_offset += timedelta(seconds=14)
    assert client.get("/outsourced/healthz").status_code == 200
    services.database.clock_offset += timedelta(seconds=2)
    assert client.get("/outsourced/healthz").status_code == 503


def test_health_is_red_where_the_storage_is_another(services: Services, client: FlaskClient) -> None:
    services.storage.store(io.BytesIO(b"x"))
    services.janitor.tick()
    assert client.get("/outsourced/healthz").status_code == 200
    services.storage.write_mark("another")
    red = client.get("/outsourced/healthz")
    assert red.status_code == 503
    assert red.json is not None
    assert "this host's storage of files is another installation's" in red.json["troubles"][0]


@on_sqlite
def test_health_is_red_without_the_database(services: Services, client: FlaskClient, tmp_path: Path) -> None:
    services.janitor.tick()
    services.database.dispose()
    Path(services.database.engine.url.database or "").rename(tmp_path / "away")
    Path(services.database.engine.url.database or "").mkdir()
    red = client.get("/outsourced/healthz")
    assert red.status_code == 503
    assert red.json is not None
    assert red.json["troubles"] == ["the database cannot be reached"]


def test_server_without_tables_says_what_to_run(tmp_path: Path) -> None:
    app = make_app(tmp_path, f"sqlite:///{tmp_path}/empty.sqlite3")
    answer = app.test_client().get("/outsourced/healthz")
    services_of(app).stop()
    assert answer.status_code == 503
    assert answer.json is not None
    assert "flask outsourcer init" in answer.json["detail"]


def test_server_not_set_up_says_what_to_run(tmp_path: Path) -> None:
    app = make_app(tmp_path, f"sqlite:///{tmp_path}/new.sqlite3")
    services = services_of(app)
    migrate.upgrade(services.database)
    client = app.test_client()
    assert "flask outsourcer init" in client.post("/outsourced/oauth/token").json["detail"]  # type: ignore[index]
    installation.initialise(services.database, url=None, signing_key=signing.new_signing_key(SECRET))
    answer = client.post("/outsourced/oauth/token")
    services.stop()
    assert answer.status_code == 503
    assert answer.json is not None
    assert "OUTSOURCED_URL" in answer.json["detail"]


@on_sqlite
def test_server_with_a_changed_secret_says_so(host: Flask, client: FlaskClient) -> None:
    host.secret_key = "another"
    answer = client.get("/outsourced/oauth/jwks")
    assert answer.status_code == 503
    assert answer.json is not None
    assert "SECRET_KEY" in answer.json["detail"]


@on_sqlite
def test_index_says_what_this_is(client: FlaskClient) -> None:
    answer = client.get("/outsourced/")
    assert answer.json is not None
    assert answer.json["name"] == "outsourced"


# --- problems --------------------------------------------------------------------------------------------


@on_sqlite
def test_problem_carries_code_facts_and_retry_after(host: Flask) -> None:
    answer = problem(host, errors.QueueFull("full", queue="q", asked=3, retry_after=1.2, job_id=uuid4()))
    assert answer.status_code == 429
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Retry-After"] == "2"
    assert answer.json["code"] == "queue_full"
    assert (answer.json["queue"], answer.json["asked"]) == ("q", 3)


@on_sqlite
def test_problem_of_the_database_does_not_show_the_drivers_words(
    host: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    answer = problem(host, errors.BackendUnavailable("no route to db.internal for user root"))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert "db.internal" not in answer.get_data(as_text=True)
    assert "db.internal" in caplog.text


@on_sqlite
def test_problem_of_authentication_challenges_as_rfc_6750_has_it(host: Flask) -> None:
    bare = problem(host, errors.AuthenticationFailed("send a token"))
    assert bare.headers["WWW-Authenticate"] == 'Bearer realm="outsourced"'
    sent = {"headers": {"Authorization": "Bearer x"}}
    refused = problem(host, errors.AuthenticationFailed('not "good" \\ für'), **sent)
    assert (
        refused.headers["WWW-Authenticate"]
        == 'Bearer realm="outsourced", error="invalid_token", error_description="not \'good\' / f?r"'
    )
    assert problem(host, errors.WorkerLocked(), **sent).json["code"] == "worker_locked"


@on_sqlite
def test_every_error_of_ours_makes_a_problem(host: Flask) -> None:
    for code, cls in errors.BY_CODE.items():
        answer = problem(host, cls("what happened"))
        assert answer.json["code"] == code
        assert answer.json["status"] == answer.status_code >= 400


@on_sqlite
def test_oversize_body_is_a_problem(client: FlaskClient, host: Flask) -> None:
    answer = client.post("/outsourced/oauth/revoke", data={"token": "x" * 100_000})
    assert (answer.status_code, answer.content_type) == (413, "application/problem+json")
    assert answer.json is not None
    assert answer.json["code"] == "too_large"


# --- threads ---------------------------------------------------------------------------------------------


def serving(tmp_path: Path, **config: Any) -> Services:
    """The services of an app that is not under test."""
    app = make_app(tmp_path, f"sqlite:///{tmp_path}/serving.sqlite3", **config)
    app.testing = False
    services = services_of(app)
    migrate.upgrade(services.database)
    installation.initialise(services.database, url=URL, signing_key=signing.new_signing_key(SECRET))
    return services


def janitors() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "outsourced-janitor"]


def test_janitor_starts_with_the_first_request_and_ticks(tmp_path: Path) -> None:
    services = serving(tmp_path, OUTSOURCED_JANITOR_INTERVAL="20ms", OUTSOURCED_PROMOTE_INTERVAL="20ms")
    assert janitors() == []
    ticked = threading.Event()
    tick = services.janitor.tick

    def watched() -> dict[str, int]:
        done = tick()
        ticked.set()
        return done

    services.janitor.tick = watched  # type: ignore[method-assign]
    client = services._app.test_client()
    client.get("/outsourced/")
    client.get("/outsourced/")
    assert len(janitors()) == 1
    assert ticked.wait(10)
    services.stop()
    services.stop()
    assert janitors() == []


def test_janitor_survives_a_failing_tick(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    services = serving(tmp_path, OUTSOURCED_PROMOTE_INTERVAL="5ms")
    again = threading.Event()
    calls: list[int] = []

    def failing() -> dict[str, int]:
        calls.append(1)
        if len(calls) == 1:
            raise errors.BackendUnavailable("gone")
        again.set()
        return {}

    services.janitor.tick = failing  # type: ignore[method-assign]
    services.janitor.start()
    assert again.wait(10)
    services.stop()
    assert "gone" in caplog.text


def test_nothing_starts_under_testing_or_on_requests_of_the_host(tmp_path: Path) -> None:
    services = serving(tmp_path)
    services._app.add_url_rule("/", view_func=lambda: "host", endpoint="home")
    services._app.test_client().get("/")
    assert janitors() == []
    services._app.testing = True
    services._app.test_client().get("/outsourced/")
    assert janitors() == []
    services.stop()


def test_services_start_again_after_a_fork(tmp_path: Path) -> None:
    services = serving(tmp_path)
    client = services._app.test_client()
    client.get("/outsourced/")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # in the child: report by the pipe, and leave without pytest's clean-up
        before = len(janitors())
        answer = client.get("/outsourced/")
        os.write(writer, f"{before} {len(janitors())} {answer.status_code}".encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    report = os.read(reader, 100)
    os.close(reader)
    services.stop()
    assert report == b"0 1 200"


@on_sqlite
@pytest.mark.parametrize(("multithread", "limit"), [(True, 4), (False, 0)])
def test_polls_park_only_where_there_are_threads(
    client: FlaskClient, services: Services, multithread: bool, limit: int
) -> None:
    client.get("/outsourced/", environ_overrides={"wsgi.multithread": multithread})
    assert services.wakeup.max_waiters == limit


def test_configured_number_of_waiters_holds(tmp_path: Path) -> None:
    services = serving(tmp_path, OUTSOURCED_MAX_WAITERS=9)
    services._app.test_client().get("/outsourced/")
    assert services.wakeup.max_waiters == 9
    services.stop()
