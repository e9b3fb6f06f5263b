"""The command, run as users run it: every error is one message that says what to do."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.worker.test_processes import child_env

KEY = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a configuration whose server is not there, and a module of tasks."""
    settings = {
        "url": "http://127.0.0.1:9/outsourced",
        "worker": "w",
        "audience": "a",
        "key_id": "k",
        "private_key": KEY,
        "include": ["my_tasks"],
    }
    config = tmp_path / "outsourced.yml"
    config.write_text(json.dumps(settings))  # JSON is YAML
    config.chmod(0o600)
    (tmp_path / "my_tasks.py").write_text(
        "import outsourced\n@outsourced.task(name='mine')\ndef mine(): ...\n"
    )
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = child_env() | {"XDG_CONFIG_HOME": str(folder / "xdg"), "HOME": str(folder)}
    environment.pop("OUTSOURCED_CONFIG", None)
    return subprocess.run(
        [sys.executable, "-m", "outsourced_worker.cli", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def expect(done: subprocess.CompletedProcess[str], code: int, *messages: str) -> None:
    assert "Traceback" not in done.stderr
    for message in messages:
        assert message in done.stderr
    assert done.returncode == code


def test_run_without_configuration_says_where_it_looked(tmp_path: Path) -> None:
    expect(run(tmp_path), 2, "no configuration found", "outsourced.yml", "flask outsourcer worker config")


def test_run_with_an_unknown_option_is_a_usage_error(folder: Path) -> None:
    expect(run(folder, "--nonsense"), 2, "No such option")


def test_run_refuses_a_configuration_others_can_read(folder: Path) -> None:
    (folder / "outsourced.yml").chmod(0o644)
    expect(run(folder), 2, "chmod 600")


@pytest.fixture
def secret_mount(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Gives a file as an orchestrator mounts secrets: for all to read, on a read-only file system."""
    place = tmp_path / "secrets"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True, check=False).returncode:
        pytest.skip("mounting takes root")

    def mount(file: Path) -> Path:
        (place / file.name).write_bytes(file.read_bytes())
        (place / file.name).chmod(0o444)
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        return place / file.name

    yield mount
    subprocess.run(["umount", place], check=True)


def test_run_warns_of_a_secret_mount_that_cannot_be_made_private(
    folder: Path, secret_mount: Callable[[Path], Path]
) -> None:
    done = run(folder, str(secret_mount(folder / "outsourced.yml")), "--check")
    expect(done, 1, "is on a read-only mount", "Is the server running")


def test_run_names_a_missing_module(folder: Path) -> None:
    expect(run(folder, "-I", "nowhere.tasks"), 2, "no module 'nowhere' here", sys.prefix)


def test_run_names_the_package_a_module_misses_and_the_rule(folder: Path) -> None:
    (folder / "my_tasks.py").write_text("import absent_package\n")
    expect(run(folder), 2, "'absent_package' is not installed", "neither Flask nor models")


def test_run_explains_a_module_that_fails_to_import(folder: Path) -> None:
    (folder / "my_tasks.py").write_text("\n1 / 0\n")
    expect(run(folder), 2, "ZeroDivisionError", "my_tasks.py, line 2")


def test_run_explains_modules_without_tasks(folder: Path) -> None:
    (folder / "my_tasks.py").write_text("")
    expect(run(folder), 2, "define", "no task", "@outsourced.task")


@pytest.mark.parametrize("option", ["--check", "--once"])
def test_run_says_when_the_server_is_absent(folder: Path, option: str) -> None:
    expect(run(folder, option), 1, "Is the server running")


def test_run_refuses_a_broken_key(folder: Path) -> None:
    config = folder / "outsourced.yml"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"private_key": "nonsense"}))
    done = run(folder, "--check")
    expect(done, 2, "key")


def test_install_keeps_the_file_for_the_owner_alone(folder: Path) -> None:
    source = folder / "outsourced.yml"
    source.chmod(0o644)
    expect(run(folder, "--install", str(source)), 0)
    (kept,) = (folder / "xdg").rglob("outsourced.yml")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    source.unlink()
    expect(run(folder, "--check"), 1, "Is the server running")


def test_json_log_lines_are_json(folder: Path) -> None:
    done = run(folder, "--once", "--log-format", "json")
    first = json.loads(done.stderr.splitlines()[0])
    assert first["level"] == "info"
    assert {"time", "logger", "message"} <= set(first)


def test_version_is_told(folder: Path) -> None:
    done = run(folder, "--version")
    assert done.returncode == 0
    assert "outsourced_worker" in done.stdout
    assert os.linesep in done.stdout


#: what people type after `celery`, and a word of why nothing comes of it
TYPED = {
    "-Q mail,feeds": "flask outsourcer worker hire",
    "-X mail": "flask outsourcer worker hire",
    "-B": "enqueues what recurs",
    "--beat -s /tmp/celerybeat-schedule": "enqueues what recurs",
    "-E": "keeps the history",
    "-O fair": "as with -O fair",
    "--prefetch-multiplier 1": "as with -O fair",
    "--prefetch-multiplier=1": "as with -O fair",
    "--without-mingle --without-gossip": "do not talk to each other",
    "--without-heartbeat": "so they stay",
    "--heartbeat-interval 10": "the server says",
    "--autoscale=10,3": "-c",
    "--time-limit=300 --soft-time-limit 200": "gets_stuck_at",
    "--purge": "queue empty",
    "--statedb=/tmp/state": "server's database",
    "-b redis://localhost": "configuration file",
    "-C": "no colours",
}


@pytest.mark.parametrize("typed", TYPED)
def test_options_of_celerys_are_accepted_with_the_reason_why_they_do_nothing(
    folder: Path, typed: str
) -> None:
    expect(
        run(folder, "-A", "my_tasks", "worker", "-l", "INFO", *typed.split(), "--once"),
        1,
        TYPED[typed],
        "does nothing here",
    )


def test_the_line_people_type_is_understood(folder: Path) -> None:
    line = "-A my_tasks worker --loglevel=INFO -c 3 -P prefork -n w1@%h --max-tasks-per-child=100 --once"
    done = run(folder, *line.split(), "--max-memory-per-child=200000")
    expect(done, 1, "processes, 3 slots", "Is the server running")
    assert "does nothing" not in done.stderr


PROJECT = {
    "proj/__init__.py": "",
    "proj/celery.py": (
        "from outsourced import Celery\n"
        "app = Celery('proj', broker='redis://', include=['proj.more'])\n"
        "app.autodiscover_tasks(['proj'])\n"
    ),
    "proj/tasks.py": "from outsourced import shared_task\n@shared_task\ndef found(): ...\n",
    "proj/more.py": "from proj.celery import app\n@app.task\ndef more(): ...\n",
}


@pytest.mark.parametrize("name", ["proj", "proj.celery", "proj.celery:app", "my_tasks,proj"])
def test_an_app_of_celerys_shape_is_found_with_its_tasks(folder: Path, name: str) -> None:
    (folder / "proj").mkdir()
    for path, source in PROJECT.items():
        (folder / path).write_text(source)
    expect(run(folder, "-A", name, "-P", "solo", "--once"), 1, "proj.more.more", "proj.tasks.found")


def test_a_module_that_the_app_names_and_that_fails_is_explained(folder: Path) -> None:
    (folder / "my_tasks.py").write_text("from outsourced import Celery\nCelery('x', include=['nowhere'])\n")
    expect(run(folder), 2, "'nowhere' is not installed")


@pytest.mark.parametrize("setting", ["max_tasks_per_child", "max_memory_per_child"])
def test_lifespans_are_whole_numbers(folder: Path, setting: str) -> None:
    config = folder / "outsourced.yml"
    config.write_text(json.dumps(json.loads(config.read_text()) | {setting: "many"}))
    expect(run(folder), 2, f"{setting} must be a whole number")
