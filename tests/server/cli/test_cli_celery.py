"""`flask outsourcer celery check`: reads a module, and runs nothing of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.cli.conftest import Cli, refused

MODULE = """
from celery import Celery, shared_task
from celery.schedules import crontab, solar
from celery.contrib.abortable import AbortableTask
from kombu import Queue
from flask import current_app
from .models import User
import requests

raise SystemExit("nobody runs this")

def find(id):
    return User.query.get(id)

@shared_task
def fetch(url):
    return requests.get(url).text

@app.task(bind=True, rate_limit="10/m")
def remind(self, id):
    find(id)
    self.add_to_chord(fetch.s("x"))
    raise self.replace(fetch.s("x"))

@app.task
def name():
    return current_app.name

def stop():
    app.control.broadcast("x")
    app.control.rate_limit("x", "1/m")
    "text".replace("a", "b")
"""

USES = """
from celery import Task, chord, states
from celery.app.task import Task as Base
from celery.exceptions import Retry, Terminated
from celery.result import AsyncResult
from celery.signals import beat_init, heartbeat_sent
from celery.utils.log import get_task_logger
import celery.worker.request

@shared_task(bind=True, serializer="pickle")
def convert(self):
    self.update_state(state="PROGRESS", meta={})
    self.update_state(state=states.SUCCESS)
    self.retry(args=(1,), countdown=3, priority=1)
    raise self.retry(queue="slow")
"""

PLAIN = "from outsourced import task\n@task\ndef add(x, y): return x + y\n"


def test_check_tells_tasks_apart_and_names_what_is_unsupported(do: Callable[..., str]) -> None:
    Path("old_tasks.py").write_text(MODULE)
    told = json.loads(do("celery", "check", "old_tasks", "--json"))
    assert [found["what"] for found in told["findings"]] == [
        "solar", "AbortableTask", "kombu", "broadcast",
    ]  # fmt: skip
    assert {task["name"]: task["needs"] for task in told["tasks"]} == {
        "fetch": [],
        "remind": [".models"],
        "name": ["flask"],
    }
    text = do("celery", "check", "old_tasks.py")
    assert "task fetch may run anywhere" in text
    assert "task remind stays with the app" in text
    assert "imports .models, flask: move the tasks" in text


def test_check_has_nothing_to_say_of_a_plain_module(do: Callable[..., str], run: Cli) -> None:
    Path("plain_tasks.py").write_text(PLAIN)
    Path("empty.py").write_text("")
    assert do("celery", "check", "plain_tasks").splitlines()[0].endswith("task add may run anywhere")
    assert "nothing that needs care" in do("celery", "check", "empty.py")
    assert "no module 'nowhere.tasks'" in refused(run("celery", "check", "nowhere.tasks"))
    Path("broken.py").write_text("def")
    assert "cannot be read" in refused(run("celery", "check", "broken.py"))


def test_check_names_the_package_that_brings_flask_along(do: Callable[..., str]) -> None:
    Path("shop/reports").mkdir(parents=True)
    Path("shop/__init__.py").write_text("from flask import Flask")
    Path("shop/reports/__init__.py").write_text("")
    Path("shop/reports/tasks.py").write_text(PLAIN)
    task, package = do("celery", "check", "shop.reports.tasks").splitlines()
    assert task == "shop/reports/tasks.py:3: task add may run anywhere"
    assert package.startswith(f"{Path.cwd()}/shop/__init__.py: is imported before tasks.py")
    assert do("celery", "check", "shop/__init__.py").splitlines() == [
        "shop/__init__.py: no task, and nothing that needs care"
    ]


@pytest.mark.parametrize("name", ["shop", "shop/", "./shop"])
def test_check_reads_every_module_of_a_package(do: Callable[..., str], name: str) -> None:
    Path("shop/reports").mkdir(parents=True)
    Path("shop/.hidden").mkdir()
    Path("shop/.hidden/tasks.py").write_text(PLAIN)
    Path("shop/__init__.py").write_text("from flask import Flask")
    Path("shop/tasks.py").write_text(PLAIN)
    Path("shop/reports/__init__.py").write_text("from celery.schedules import solar")
    Path("shop/reports/daily.py").write_text(MODULE)
    Path("shop/reports/old.py").write_text("print 'a'")

    told = json.loads(do("celery", "check", name, "--json"))
    assert [(found["file"], found["line"], found["what"]) for found in told["findings"]] == [
        ("shop/reports/__init__.py", 1, "solar"),
        ("shop/reports/daily.py", 3, "solar"),
        ("shop/reports/daily.py", 4, "AbortableTask"),
        ("shop/reports/daily.py", 5, "kombu"),
        ("shop/reports/daily.py", 30, "broadcast"),
        ("shop/reports/old.py", 1, "cannot be read"),
    ]
    assert [(task["file"], task["name"]) for task in told["tasks"]] == [
        ("shop/tasks.py", "add"),
        *(("shop/reports/daily.py", name) for name in ("fetch", "remind", "name")),
    ]
    assert told["imports"] == [".models", "flask"]
    assert told["packages"] == [f"{Path.cwd()}/shop/__init__.py"]
    assert told["modules"][1] == {"file": "shop/tasks.py", "imports": [], "packages": told["packages"]}

    lines = do("celery", "check", name).splitlines()
    assert "shop/tasks.py:3: task add may run anywhere" in lines
    assert "shop/__init__.py: is imported before tasks.py, daily.py, and" in lines[-1]
    assert not [line for line in lines if "nothing that needs care" in line]


def test_check_takes_a_module_before_a_folder_of_its_name(do: Callable[..., str], run: Cli) -> None:
    Path("work").mkdir()
    assert "no module 'work'" in refused(run("celery", "check", "work"))
    assert "no module in" in refused(run("celery", "check", "work/"))
    Path("work/inner.py").write_text("")
    assert do("celery", "check", "work") == "work: no task, and nothing that needs care\n"
    Path("work.py").write_text(PLAIN)
    assert do("celery", "check", "work", "work/inner.py").startswith("work.py:3: task add")


TESTS = """
import pytest

@pytest.fixture
def ready(celery_session_worker):
    return celery_session_worker

def test_add(client, celery_app, celery_worker):
    add.delay(1, 2)

@pytest.mark.usefixtures("db", "celery_session_app")
async def test_more(request):
    request.getfixturevalue("celery_worker")

def make(celery_app):
    return celery_app
"""


def test_check_names_the_fixtures_that_go_on_testing_celery(do: Callable[..., str]) -> None:
    Path("tests").mkdir()
    Path("tests/test_tasks.py").write_text(TESTS)
    told = json.loads(do("celery", "check", "tests", "--json"))
    assert [(found["line"], found["what"]) for found in told["findings"]] == [
        (5, "celery_session_worker"),
        (8, "celery_app"),
        (8, "celery_worker"),
        (11, "celery_session_app"),
        (13, "celery_worker"),
    ]
    assert "celery_app: it is Celery's, and goes on testing Celery: take `outsourced_jobs`" in do(
        "celery", "check", "tests/test_tasks.py"
    )


def test_check_lets_fixtures_be_that_the_tests_define_themselves(do: Callable[..., str]) -> None:
    Path("tests/unit").mkdir(parents=True)
    fixture = "import pytest\n@pytest.fixture(scope='session')\ndef {}(): ...\n"
    Path("tests/conftest.py").write_text(fixture.format("celery_app"))
    Path("tests/unit/test_tasks.py").write_text(fixture.format("celery_session_app") + TESTS)
    told = json.loads(do("celery", "check", "tests", "--json"))
    assert {found["what"] for found in told["findings"]} == {"celery_worker", "celery_session_worker"}


def test_check_names_what_cannot_be_imported_and_how_tasks_cannot_end(do: Callable[..., str]) -> None:
    Path("uses.py").write_text(USES)
    told = json.loads(do("celery", "check", "uses.py", "--json"))
    assert [(found["line"], found["what"]) for found in told["findings"]] == [
        (2, "states"),
        (4, "celery.exceptions.Terminated"),
        (6, "celery.signals.heartbeat_sent"),
        (8, "celery.worker.request"),
        (10, "pickle"),
        (13, "update_state"),
        (15, "retry(queue)"),
    ]
