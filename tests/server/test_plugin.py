"""The pytest plugin in suites of others: with an app and without, and with a rollback after each test.

A database comes before `pytester`, at whose end what was imported since it began is forgotten: a driver
that is imported twice raises errors that nobody knows.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parent.parent.parent

APP = """
import os
import outsourced
import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()

class Note(db.Model):
    id = db.Column(db.Integer, primary_key=True)

@outsourced.task(name="add")
def add(x, y):
    return x + y

@outsourced.task(name="parent")
def parent():
    add.delay(3, y=4)

def create_app():
    app = Flask("shop")
    app.config.update(TESTING=True, SECRET_KEY="s", SQLALCHEMY_DATABASE_URI=os.environ["THE_DATABASE"])
    db.init_app(app)
    app.register_blueprint(outsourced.bp, url_prefix="/outsourced")

    @app.post("/add")
    def start():
        return {"id": add.delay(1, 2).id}

    return app

@pytest.fixture
def app():
    app = create_app()
    with app.app_context():
        db.create_all()
    return app
"""

TESTS = """
import outsourced
import pytest
from shop import add, app, create_app, db, parent

def test_view_enqueues_and_drain_runs(client, outsourced_jobs):
    id = client.post("/add").json["id"]
    job = outsourced_jobs.assert_enqueued(add, args=(1, 2), kwargs={}, times=1)
    assert str(job.id) == id
    (ended,) = outsourced_jobs.drain()
    assert (ended.state, ended.result, ended.worker) == ("completed", "3", "drain")
    assert outsourced.AsyncResult(id).get() == 3

def test_nothing_is_left_of_other_tests(outsourced_jobs):
    assert len(outsourced_jobs) == 0
    outsourced_jobs.assert_not_enqueued()
    assert outsourced_jobs.drain() == []
    assert create_app().extensions["outsourced"].backend.jobs() == []

def test_children_are_noted_and_run(app, outsourced_jobs):
    parent.delay()
    assert [job.task for job in outsourced_jobs.drain()] == ["parent", "add"]
    outsourced_jobs.assert_enqueued("add", args=(3,), kwargs={"y": 4})

def test_later_jobs_wait_for_the_clock(app, outsourced_jobs):
    add.apply_async((1, 2), countdown=60)
    assert outsourced_jobs.drain() == []
    outsourced_jobs.pass_time(61)
    assert len(outsourced_jobs.drain()) == 1

def test_what_is_missing_is_shown_with_what_is_there(app, outsourced_jobs):
    add.delay(1, y=2)
    with pytest.raises(AssertionError, match=r"(?s)add\\(3\\) was not enqueued; .*add\\(1, y=2\\)"):
        outsourced_jobs.assert_enqueued(add, args=(3,))
    with pytest.raises(AssertionError, match="2 times but 1"):
        outsourced_jobs.assert_enqueued(add, times=2)
    with pytest.raises(AssertionError, match=r"add\\(1, y=2\\)"):
        outsourced_jobs.assert_not_enqueued(add)
"""

WITHOUT_APP = """
import outsourced

@outsourced.task(name="double")
def double(x):
    return 2 * x

@outsourced.task(name="both")
def both():
    double.delay(1)

def test_jobs_are_in_memory(outsourced_jobs):
    both.delay()
    assert [job.task for job in outsourced_jobs.drain()] == ["both", "double"]
    outsourced_jobs.assert_enqueued(double, args=[1], queue=None)
    double.apply_async((2,), countdown=9)
    outsourced_jobs.pass_time(10)
    assert [job.result for job in outsourced_jobs.drain()] == ["4"]

def test_nothing_is_automatic():
    try:
        double.delay(1)
    except outsourced.ConfigurationError:
        return
    raise AssertionError("a backend is in force")
"""

#: the recipe: the session works in a transaction of the test's, which is rolled back
ROLLED_BACK = """
import outsourced
import pytest
from sqlalchemy.orm import scoped_session, sessionmaker
from shop import Note, add, app, create_app, db

@pytest.fixture
def session(app, monkeypatch):
    with app.app_context(), db.engine.connect() as connection:
        transaction = connection.begin()
        session = scoped_session(sessionmaker(connection, join_transaction_mode="create_savepoint"))
        monkeypatch.setattr(db, "session", session)
        yield session
        session.remove()
        transaction.rollback()

@pytest.mark.parametrize("time", [1, 2])
def test_rolled_back(session, outsourced_jobs, time):
    session.add(Note(id=1))
    add.delay_on_commit(1, 2)
    session.commit()
    add.delay(3, 4)
    assert len(outsourced_jobs) == 2
    outsourced_jobs.assert_enqueued(add, args=(1, 2), times=1)
    assert "7" in [job.result for job in outsourced_jobs.drain()]

def test_nothing_is_left(app, outsourced_jobs):
    with app.app_context():
        assert db.session.get(Note, 1) is None
    assert app.extensions["outsourced"].backend.jobs() == []
"""


def run(pytester: pytest.Pytester, database: str, *options: str, **files: str) -> pytest.RunResult:
    pytester.makepyfile(**files)
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider\n")
    monkeypatch = pytester._monkeypatch
    monkeypatch.setenv("THE_DATABASE", database)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "worker"), str(pytester.path)]))
    plugin = () if "outsourced.testing.plugin" in PLUGINS else ("-p", "outsourced.testing.plugin")
    return pytester.run(sys.executable, "-m", "pytest", *plugin, *options)


#: of installed distributions: a checkout installed before the plugin was declared has none yet
PLUGINS = {point.value for point in __import__("importlib.metadata").metadata.entry_points(group="pytest11")}


@pytest.fixture
def hosts_url(database_url: str) -> str:
    return database_url.replace("postgresql:", "postgresql+psycopg:")


def test_suite_with_an_app_goes_the_way_of_production(hosts_url: str, pytester: pytest.Pytester) -> None:
    run(pytester, hosts_url, shop=APP, test_shop=TESTS).assert_outcomes(passed=5)


def test_suite_on_an_in_memory_database_needs_no_tables_of_ours(pytester: pytest.Pytester) -> None:
    files = {
        "shop": APP,
        "test_shop": TESTS.replace("assert create_app().", "assert app.").replace(
            "(outsourced_jobs):\n    assert len", "(app, outsourced_jobs):\n    assert len"
        ),
    }
    run(pytester, "sqlite://", **files).assert_outcomes(passed=5)


def test_suite_without_an_app_keeps_jobs_in_memory(pytester: pytest.Pytester) -> None:
    run(pytester, "", test_alone=WITHOUT_APP).assert_outcomes(passed=2)


def test_suite_that_rolls_back_each_test_keeps_none_of_its_jobs(
    postgres_url: str, pytester: pytest.Pytester
) -> None:
    url = postgres_url.replace("postgresql:", "postgresql+psycopg:")
    run(pytester, url, shop=APP, test_shop=ROLLED_BACK).assert_outcomes(passed=3)


def test_suite_that_rolls_back_each_test_on_sqlite_keeps_jobs_in_memory(
    sqlite_url: str, pytester: pytest.Pytester
) -> None:
    # pysqlite's savepoints do not nest in a transaction that it has begun itself
    suite = ROLLED_BACK.rsplit("def test", 1)[0].replace("create_savepoint", "rollback_only")
    run(pytester, sqlite_url, "-o", "outsourced_jobs=memory", shop=APP, test_shop=suite).assert_outcomes(
        passed=2
    )
