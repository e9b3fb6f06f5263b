"""The seed's four lines, by the real `flask` in a process of its own, on each database."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from outsourced.sql import migrate, overview
from outsourced.sql.database import Database
from tests.server.loopback import on_one_database

WORKER = "phill.worker@okayfail.com"

APP = """
import outsourced
from flask import Flask
import myapp_tasks

app = Flask(__name__)
app.config["SECRET_KEY"] = "a secret of the host"
app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
"""

TASKS = """
import outsourced

@outsourced.task
def add(x, y):
    return x + y
"""

Flask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def flask(tmp_path: Path, database_url: str) -> Flask:
    """Runs `flask …` beside an `app.py`, as one types it."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "myapp_tasks.py").write_text(TASKS)
    root = Path(__file__).resolve().parent.parent.parent
    environment = os.environ | {
        "OUTSOURCED_DATABASE_URL": database_url,
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "worker")]),
    }

    def flask(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "flask", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return flask


def test_the_seed_s_four_lines_after_init(flask: Flask, tmp_path: Path, database: Database) -> None:
    migrate.downgrade(database, "base")
    for line in (
        "outsourcer init https://jobs.example.com/outsourced",
        f"outsourcer worker create {WORKER}",
        "outsourcer queue create stuff_to_do",
        f"outsourcer queue hire {WORKER}",
        f"outsourcer worker config -o foo.yml {WORKER}",
    ):
        done = flask(*line.split())
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr

    config = yaml.safe_load((tmp_path / "foo.yml").read_text())
    assert stat.S_IMODE((tmp_path / "foo.yml").stat().st_mode) == 0o600
    assert config["include"] == ["myapp_tasks"]
    info = overview.worker(database, WORKER)
    assert info.queues == ("stuff_to_do",)
    assert [credential.kid for credential in info.credentials] == [config["key_id"]]


def config_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = yaml.safe_load(done.stdout)
    return loaded


def test_tasks_in_the_module_of_the_app_are_warned_of(flask: Flask, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.replace("import myapp_tasks", TASKS))
    flask("outsourcer", "init", "https://jobs.example.com/outsourced")
    flask("outsourcer", "worker", "create", WORKER)
    done = flask("outsourcer", "worker", "config", WORKER)
    assert config_of(done)["include"] == []
    assert (
        "Warning: `include:` is empty, for all modules with tasks need the app (app imports flask)"
        in done.stderr
    )
    done = flask("outsourcer", "worker", "config", WORKER, "--include", "app")
    assert config_of(done)["include"] == ["app"]
    assert "Warning: app will not import where only a worker is, it imports flask" in done.stderr


#: modules with tasks, and whether a worker without the app can import them
MODULES = {
    "shop/__init__.py": "",
    "shop/free.py": "from shop import helpers\nfrom . import helpers as again",
    "shop/helpers.py": "import json",
    "shop/lazy.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from shop.db import engine\n"
        "try:\n    import flask\nexcept ImportError:\n    flask = None\n"
        "def later():\n    from flask import current_app\n"
    ),
    "shop/direct.py": "if True:\n    from flask import current_app",
    "shop/db.py": "import sqlalchemy\nengine = None",
    "shop/models.py": "from .db import engine",
    "shop/far.py": "from .models import engine",
    "shop/ours.py": "from outsourced import workers",
    "store/__init__.py": "import flask_sqlalchemy",
    "store/inside.py": "",
}


@on_one_database
def test_config_includes_only_what_can_be_imported_without_the_app(flask: Flask, tmp_path: Path) -> None:
    with_tasks = ["shop.direct", "shop.far", "shop.free", "shop.lazy", "shop.ours", "store.inside"]
    for name, text in MODULES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        module = ".".join(path.relative_to(tmp_path).with_suffix("").parts)
        path.write_text(f"{text}\n{TASKS if module in with_tasks else ''}")
    (tmp_path / "app.py").write_text(APP.replace("myapp_tasks", ", ".join(with_tasks)))
    flask("outsourcer", "init", "https://jobs.example.com/outsourced")
    flask("outsourcer", "worker", "create", WORKER)

    done = flask("outsourcer", "worker", "config", WORKER)
    assert config_of(done)["include"] == ["shop.free", "shop.lazy"]
    assert done.stdout.partition("# Not included")[2].splitlines()[1:] == [
        "#   shop.direct: imports flask",
        "#   shop.far: imports shop.models, which imports shop.db, which imports sqlalchemy",
        "#   shop.ours: imports outsourced.server",
        "#   store.inside: imports store, which imports flask_sqlalchemy",
    ]
    assert (
        "Not included, for they need the app: shop.direct, shop.far, shop.ours, store.inside" in done.stderr
    )

    (tmp_path / "block.py").write_text(
        "import sys\nfor name in ('flask', 'flask_sqlalchemy', 'sqlalchemy', 'alembic', 'psycopg'):\n"
        "    sys.modules[name] = None\n"
        "from outsourced_worker.loader import load_tasks\nprint(*load_tasks(sys.argv[1:]))\n"
    )
    root = Path(__file__).resolve().parent.parent.parent
    worker = subprocess.run(
        [sys.executable, "block.py", "shop.free", "shop.lazy"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "worker")])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert worker.returncode == 0, worker.stderr
    assert {"shop.free.add", "shop.lazy.add"} <= set(worker.stdout.split())


def test_a_newcomer_s_mistake_is_one_message(flask: Flask, database: Database) -> None:
    migrate.downgrade(database, "base")
    done = flask("outsourcer", "worker", "create", WORKER)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "Error: the tables are missing or older than this version: run `flask outsourcer init`\n"
    )


@on_one_database
@pytest.mark.parametrize("pool", ["processes", "threads"])
def test_a_worker_logs_each_job_at_info_as_celery_does(flask: Flask, pool: str) -> None:
    flask("outsourcer", "init")
    flask("outsourcer", "queue", "create", "stuff")
    flask("outsourcer", "job", "enqueue", "myapp_tasks.add", "[1, 2]")
    told = flask("outsourcer", "worker", "run", "--once", "-c", "1", "-P", pool, "-l", "info")
    assert told.returncode == 0, told.stderr
    lines = [line.partition("Task ")[2] for line in told.stderr.splitlines() if "Task " in line]
    received, succeeded = lines
    assert re.fullmatch(r"myapp_tasks\.add\[[0-9a-f-]{36}\] received", received)
    assert re.fullmatch(r"myapp_tasks\.add\[[0-9a-f-]{36}\] succeeded in [0-9.]+s: 3", succeeded)

    flask("outsourcer", "job", "enqueue", "myapp_tasks.add", "[1, 2]")
    quiet = flask("outsourcer", "worker", "run", "--once", "-c", "1", "-P", pool)
    assert "tasks    myapp_tasks.add" in quiet.stderr
    assert "Task " not in quiet.stderr


@on_one_database
def test_the_commands_are_there_before_the_blueprint_is(flask: Flask, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    done = flask("outsourcer", "celery", "check", "myapp_tasks")
    assert (done.returncode, done.stderr) == (0, "")
    assert "task add may run anywhere" in done.stdout

    done = flask("outsourcer", "worker", "list")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: this app has no outsourced server: where it is made, "
        "`app.register_blueprint(outsourced.bp, url_prefix='/outsourced')` is missing\n"
    )


@on_one_database
def test_the_commands_are_there_without_an_app(flask: Flask, tmp_path: Path) -> None:
    (tmp_path / "app.py").unlink()
    assert flask("outsourcer", "celery", "check", "myapp_tasks.py").returncode == 0
    assert "worker" in flask("outsourcer", "--help").stdout
    done = flask("outsourcer", "worker", "list")
    assert done.returncode == 2
    assert "Could not locate a Flask application" in done.stderr


@on_one_database
def test_the_commands_may_have_another_name_in_the_app(flask: Flask, tmp_path: Path) -> None:
    other = APP.replace('"/outsourced")', '"/outsourced", cli_group="queueing")')
    (tmp_path / "app.py").write_text(other)
    for name in ("outsourcer", "queueing"):
        done = flask(name, "init")
        assert done.returncode == 0, done.stderr


def test_flask_works_beside_an_installation_without_the_server_extra(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    code = "import sys; sys.modules['sqlalchemy'] = None; from flask.cli import main; main()"

    def flask(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert flask("routes").returncode == 0
    assert "outsourcer" in flask("--help").stdout
    done = flask("outsourcer", "worker", "list")
    assert done.returncode == 1
    assert "pip install 'outsourced[server]'" in done.stderr
    assert "Traceback" not in done.stderr
