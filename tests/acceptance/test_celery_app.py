"""The app that Flask's documentation sets up with Celery, its imports changed and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.deployment import MISLEADING, ROOT

pytestmark = pytest.mark.slow

#: "Background Tasks with Celery" of Flask's documentation, `celery` replaced in its imports
EXAMPLE = """
from flask import Flask
from outsourced import Celery, Task
import outsourced  # for the blueprint, the one line that is new

def celery_init_app(app: Flask) -> Celery:
    class FlaskTask(Task):
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app

def create_app() -> Flask:
    app = Flask(__name__)
    app.config.from_mapping(
        SECRET_KEY="secret",
        CELERY=dict(
            broker_url="redis://localhost",
            result_backend="redis://localhost",
            task_ignore_result=True,
        ),
    )
    app.config.from_prefixed_env()
    app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
    celery_init_app(app)
    from example import views
    app.register_blueprint(views.bp)
    return app
"""

TASKS = """
from flask import current_app
from outsourced import shared_task

@shared_task(ignore_result=False)
def add_together(a: int, b: int) -> int:
    return a + b

@shared_task(ignore_result=False)
def name_of_app() -> list:
    return [current_app.name, type(name_of_app).__base__.__name__, name_of_app.app.main]

@shared_task()
def forgets() -> int:
    return 1
"""

VIEWS = """
from flask import Blueprint, request
from outsourced.result import AsyncResult
from example import tasks

bp = Blueprint("tasks", __name__)

@bp.post("/add")
def start_add() -> dict[str, object]:
    result = tasks.add_together.delay(request.form.get("a", type=int), request.form.get("b", type=int))
    return {"result_id": result.id}

@bp.get("/result/<id>")
def task_result(id: str) -> dict[str, object]:
    result = AsyncResult(id)
    return {
        "ready": result.ready(),
        "successful": result.successful(),
        "value": result.result if result.ready() else None,
    }
"""

BROWSER = """
import json
from example import create_app, tasks

app = create_app()
client = app.test_client()
added = client.post("/add", data={"a": 2, "b": 3}).json["result_id"]
with app.app_context():
    ids = [added, tasks.name_of_app.delay().id, tasks.forgets.delay().id]
print(json.dumps(ids))
"""

LOOK = """
import json, sys
from example import create_app

client = create_app().test_client()
print(json.dumps([client.get(f"/result/{id}").json for id in sys.argv[1:]]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of the user's: the package `example`."""
    package = tmp_path / "example"
    package.mkdir()
    for name, source in {"__init__": EXAMPLE, "tasks": TASKS, "views": VIEWS}.items():
        (package / f"{name}.py").write_text(source)
    return tmp_path


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(MISLEADING)}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def flask(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return python(folder, "-m", "flask", "--app", "example", "outsourcer", *words)


@pytest.mark.parametrize("pool", ["processes", "threads", "solo"])
def test_the_app_of_flasks_documentation_runs(folder: Path, pool: str) -> None:
    flask(folder, "init", "http://127.0.0.1:9/outsourced")
    flask(folder, "queue", "create", "default")
    ids = json.loads(python(folder, "-c", BROWSER).stdout)
    worked = flask(folder, "worker", "run", "--burst", "-P", pool, "-c", "2")
    assert worked.stderr.count("no effect here: broker_url, result_backend") == 1

    added, named, forgotten = json.loads(python(folder, "-c", LOOK, *ids).stdout)
    assert added == {"ready": True, "successful": True, "value": 5}
    assert named["value"] == ["example", "FlaskTask", "example"]
    assert forgotten == {"ready": True, "successful": True, "value": None}


LIMITED = """
import os, time
from outsourced import shared_task

@shared_task(ignore_result=False)
def process() -> int:
    return os.getpid()

@shared_task
def sleeps() -> None:
    time.sleep(60)
"""

STATES = """
import json
from example import create_app, limited

app = create_app()
with app.app_context():
    {}
"""


def test_its_settings_limit_tasks_and_slot_processes(folder: Path) -> None:
    package = folder / "example"
    source = EXAMPLE.replace(
        "task_ignore_result=True,",
        "task_ignore_result=True, include=['example.limited'],"
        "task_time_limit=1, worker_max_tasks_per_child=1,",
    )
    (package / "__init__.py").write_text(source)
    (package / "limited.py").write_text(LIMITED)
    flask(folder, "init", "http://127.0.0.1:9/outsourced")
    flask(folder, "queue", "create", "default")
    enqueue = "print(json.dumps([one.delay().id for one in [limited.process] * 2 + [limited.sleeps]]))"
    ids = json.loads(python(folder, "-c", STATES.format(enqueue)).stdout)
    worked = flask(folder, "worker", "run", "--burst", "-P", "processes", "-c", "1")
    assert "per_child" not in worked.stderr

    look = f"print(json.dumps([repr(limited.process.AsyncResult(id).result) for id in {ids!r}]))"
    first, second, slept = json.loads(python(folder, "-c", STATES.format(look)).stdout)
    assert first != second
    assert slept.startswith("TimeLimitExceeded(")
