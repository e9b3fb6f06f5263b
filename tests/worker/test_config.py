"""Settings of the worker, and what it says when they are wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from outsourced.errors import ConfigurationError
from outsourced_worker.config import WorkerConfig, load_config
from tests.worker.test_cli import KEY

GOOD = """\
url: https://app.example.com/outsourced
worker: site-42
audience: 6f2c
key_id: k1
include: [myapp_tasks.tasks]
"""
GOOD += "private_key: " + json.dumps(KEY) + "\n"


def written(tmp_path: Path, text: str = GOOD, *, mode: int = 0o600) -> Path:
    path = tmp_path / "outsourced.yml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_load_config_reads_the_file(tmp_path: Path) -> None:
    config, warnings = load_config(written(tmp_path), {}, {})
    assert config.worker == "site-42"
    assert config.include == ("myapp_tasks.tasks",)
    assert config.pool == "processes"
    assert warnings == []
    assert "PRIVATE" not in repr(config)


def test_load_config_prefers_option_then_environment_then_file(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD + "concurrency: 2\npool: solo\npoll_wait: 3\n")
    environment = {"OUTSOURCED_CONCURRENCY": "3", "OUTSOURCED_POOL": "threads", "OUTSOURCED_INCLUDE": "a,b c"}
    config, _ = load_config(path, environment, {"concurrency": 4, "pool": None, "include": ()})
    assert (config.concurrency, config.pool, config.poll_wait) == (4, "threads", 3.0)
    assert config.include == ("a", "b", "c")


def test_load_config_works_from_the_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    key = tmp_path / "key.pem"
    key.write_text(KEY)
    key.chmod(0o600)
    environment = {
        "OUTSOURCED_URL": "http://127.0.0.1:5000/outsourced",
        "OUTSOURCED_WORKER": "w",
        "OUTSOURCED_AUDIENCE": "a",
        "OUTSOURCED_KEY_ID": "k",
        "OUTSOURCED_PRIVATE_KEY_FILE": str(key),
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    config, _ = load_config(None, environment, {})
    assert isinstance(config, WorkerConfig)
    assert config.private_key == KEY


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("url: [", "not valid YAML"),
        ("just text", "name: value"),
        (GOOD.replace("key_id: k1", ""), "lacks key_id"),
        (GOOD + "colour: red\n", "unknown setting 'colour'"),
        (GOOD.replace("https://app.example.com", "http://app.example.com"), "must be https"),
        (GOOD.replace("https://app.example.com/outsourced", "app.example.com"), "must be like https://"),
        (GOOD + "concurrency: none\n", "concurrency must be a whole number"),
        (GOOD.replace("-----BEGIN", "-----START"), "private_key is no"),
        (GOOD + "poll_wait: 600\n", "poll_wait must be seconds"),
        (GOOD + "pool: fibers\n", "pool must be one of"),
        (GOOD + "method_override: perhaps\n", "method_override must be true or false"),
        (GOOD.replace("[myapp_tasks.tasks]", "{a: 1}"), "include"),
    ],
)
def test_load_config_says_what_to_change(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_config(written(tmp_path, text), {}, {})


def test_load_config_refuses_a_file_others_can_read(tmp_path: Path) -> None:
    path = written(tmp_path, mode=0o644)
    with pytest.raises(ConfigurationError, match=r"mode 0644.*chmod 600"):
        load_config(path, {}, {})


def test_load_config_warns_where_a_mount_is_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, mode=0o644)
    read_only = os.statvfs_result((*os.statvfs(tmp_path)[:8], os.ST_RDONLY, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: read_only)
    _, warnings = load_config(path, {}, {})
    assert "read-only mount" in warnings[0]


def test_load_config_names_the_command_that_makes_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"flask outsourcer worker config -o none\.yml"):
        load_config(tmp_path / "none.yml", {}, {})


def test_load_config_follows_the_variable(tmp_path: Path) -> None:
    config, _ = load_config(None, {"OUTSOURCED_CONFIG": str(written(tmp_path))}, {})
    assert config.worker == "site-42"
