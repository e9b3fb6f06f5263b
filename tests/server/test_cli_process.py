"""The seed's four lines, by the real `flask` in a process of its own, on each database."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from outsourced.sql import migrate, overview
from outsourced.sql.database import Database

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


def test_tasks_in_the_module_of_the_app_are_warned_of(flask: Flask, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.replace("import myapp_tasks", TASKS))
    flask("outsourcer", "init", "https://jobs.example.com/outsourced")
    flask("outsourcer", "worker", "create", WORKER)
    done = flask("outsourcer", "worker", "config", WORKER)
    assert done.returncode == 0
    assert "Warning: app makes the Flask app" in done.stderr


def test_a_newcomer_s_mistake_is_one_message(flask: Flask, database: Database) -> None:
    migrate.downgrade(database, "base")
    done = flask("outsourcer", "worker", "create", WORKER)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "Error: the tables are missing or older than this version: run `flask outsourcer init`\n"
    )


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


def test_the_commands_are_there_without_an_app(flask: Flask, tmp_path: Path) -> None:
    (tmp_path / "app.py").unlink()
    assert flask("outsourcer", "celery", "check", "myapp_tasks.py").returncode == 0
    assert "worker" in flask("outsourcer", "--help").stdout
    done = flask("outsourcer", "worker", "list")
    assert done.returncode == 2
    assert "Could not locate a Flask application" in done.stderr


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
