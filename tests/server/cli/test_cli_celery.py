"""`flask outsourcer celery check`: reads a module, and runs nothing of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

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
    raise self.replace(fetch.s("x"))

@app.task
def name():
    return current_app.name

def stop():
    app.control.broadcast("x")
    "text".replace("a", "b")
"""

PLAIN = "from outsourced import task\n@task\ndef add(x, y): return x + y\n"


def test_check_tells_tasks_apart_and_names_what_is_unsupported(do: Callable[..., str]) -> None:
    Path("old_tasks.py").write_text(MODULE)
    told = json.loads(do("celery", "check", "old_tasks", "--json"))
    assert [found["what"] for found in told["findings"]] == [
        "solar", "AbortableTask", "kombu", "replace", "broadcast",
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
