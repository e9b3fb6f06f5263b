"""Settings: where they come from, and what is said about wrong ones."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from outsourced.errors import ConfigurationError
from outsourced.registry import registry
from outsourced.server import config
from outsourced.server.config import Settings
from outsourced.server.extension import Outsourced
from outsourced.sql.retention import Retention


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def read(environment: dict[str, str] | None = None, **given: Any) -> Settings:
        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)
        app = Flask("host", instance_path=str(tmp_path / "instance"))
        app.config.update(given)
        return config.load(app)

    return read


def test_load_gives_the_documented_defaults(read: Any, tmp_path: Path) -> None:
    settings = read()
    assert settings.database_url == f"sqlite:///{tmp_path}/instance/outsourced.sqlite3"
    assert (tmp_path / "instance").is_dir()
    assert settings.storage == tmp_path / "instance" / "outsourced"
    assert settings.lease_ttl == timedelta(seconds=60)
    assert settings.heartbeat_interval == timedelta(seconds=20)
    assert settings.janitor_interval == timedelta(seconds=5)
    assert settings.promote_interval == timedelta(seconds=0.5)
    assert settings.poll_wait == timedelta(seconds=25)
    assert settings.max_waiters is None
    assert settings.token_rate == 300
    assert settings.retention == Retention(
        completed=timedelta(days=7), failed=timedelta(days=90), results=timedelta(days=1)
    )


def test_app_config_wins_over_the_environment(read: Any) -> None:
    environment = {"OUTSOURCED_POLL_WAIT": "10s", "OUTSOURCED_MAX_WAITERS": "7"}
    settings = read(environment, OUTSOURCED_POLL_WAIT=5)
    assert settings.poll_wait == timedelta(seconds=5)
    assert settings.max_waiters == 7


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (30, 30),
        (0.5, 0.5),
        ("30", 30),
        ("500ms", 0.5),
        ("5m", 300),
        ("1.5 h", 5400),
        (timedelta(days=1), 86400),
    ],
)
def test_durations_have_several_spellings(read: Any, given: Any, seconds: float) -> None:
    assert read(OUTSOURCED_JANITOR_INTERVAL=given).janitor_interval.total_seconds() == seconds


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("LEASE_TTL", "soon"),
        ("LEASE_TTL", 0),
        ("LEASE_TTL", -5),
        ("LEASE_TTL", True),
        ("LEASE_TTL", 1e30),
        ("MAX_WAITERS", "many"),
        ("MAX_WAITERS", -1),
        ("MAX_WAITERS", 1.5),
        ("MAX_WAITERS", True),
        ("URL", "app.example.com/outsourced"),
        ("URL", "ftp://app.example.com"),
        ("URL", "https://"),
        ("STORAGE", "s3://"),
        ("STORAGE", "s3://bucket/x?y"),
        ("STORAGE", "relative"),
        ("STORAGE", 5),
        ("OWNER_LIMITS", "many"),
        ("OWNER_LIMITS", {"User": "many"}),
        ("OWNER_LIMITS", {"": 5}),
        ("SENDFILE", "yes"),
        ("SENDFILE", "X-Accel-Redirect"),
        ("SENDFILE", "X-Accel-Redirect:files"),
        ("SENDFILE", "X-Sendfile:/files"),
        ("RETENTION", "forever"),
        ("RETENTION", {"completed": "soon"}),
        ("RETENTION", {"done": 5}),
        ("TASK_DEFAULT_QUEUE", 5),
        ("DATABASE_URL", "no url"),
        ("SIGNING_KEY_FILE", "/nowhere/key.pem"),
    ],
)
def test_load_names_the_key_that_is_wrong(read: Any, key: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"OUTSOURCED_{key}"):
        read(**{f"OUTSOURCED_{key}": value})


def test_lease_must_outlive_a_missed_heartbeat(read: Any) -> None:
    with pytest.raises(ConfigurationError, match="HEARTBEAT"):
        read(OUTSOURCED_LEASE_TTL=30, OUTSOURCED_HEARTBEAT_INTERVAL=20)


def test_retention_names_what_it_changes(read: Any) -> None:
    expected = Retention(completed=timedelta(days=30), results=timedelta(hours=1))
    assert read(OUTSOURCED_RETENTION="completed=30d, results=1h").retention == expected
    assert read(OUTSOURCED_RETENTION={"completed": timedelta(days=30), "results": "1h"}).retention == expected


def test_database_is_ours_then_the_hosts(read: Any, tmp_path: Path) -> None:
    host = {"SQLALCHEMY_DATABASE_URI": "sqlite:///host.sqlite3"}
    hosts = read(**host)
    assert hosts.database_url == f"sqlite:///{tmp_path}/instance/host.sqlite3"
    assert hosts.database_is_the_hosts
    ours = read(**host, OUTSOURCED_DATABASE_URL="postgresql://user:secret@db/jobs")
    assert ours.database_url == "postgresql://user:secret@db/jobs"
    assert not ours.database_is_the_hosts


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:////srv/jobs.sqlite3"])
def test_absolute_and_in_memory_urls_stay(read: Any, url: str) -> None:
    assert read(OUTSOURCED_DATABASE_URL=url).database_url == url


def test_url_loses_its_last_slash(read: Any) -> None:
    assert read(OUTSOURCED_URL="https://a.example/outsourced/").url == "https://a.example/outsourced"


def test_signing_key_comes_from_a_file_too(read: Any, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("a key")
    assert read(OUTSOURCED_SIGNING_KEY_FILE=str(tmp_path / "key.pem")).signing_key == "a key"
    assert read(OUTSOURCED_SIGNING_KEY="another", OUTSOURCED_SIGNING_KEY_FILE="/x").signing_key == "another"


def test_sendfile_names_a_header_and_nginx_a_prefix(read: Any) -> None:
    nginx = read(OUTSOURCED_SENDFILE="X-Accel-Redirect: /files/", OUTSOURCED_STORAGE="/srv/files").sendfile
    assert (nginx.header, nginx.place(Path("/srv/files/ab/c"))) == ("X-Accel-Redirect", "/files/ab/c")
    apache = read(OUTSOURCED_SENDFILE="x-sendfile", OUTSOURCED_STORAGE="/srv/files").sendfile
    assert (apache.header, apache.place(Path("/srv/files/ab/c"))) == ("X-Sendfile", "/srv/files/ab/c")


def test_storage_is_a_folder_or_a_url(read: Any) -> None:
    assert read(OUTSOURCED_STORAGE="file:///srv/files").storage == Path("/srv/files")
    assert read(OUTSOURCED_STORAGE="s3://bucket/files").storage == "s3://bucket/files"
    with pytest.raises(ConfigurationError, match="OUTSOURCED_SENDFILE.*OUTSOURCED_STORAGE is a URL"):
        read(OUTSOURCED_STORAGE="s3://bucket/files", OUTSOURCED_SENDFILE="X-Sendfile")


def test_include_registers_job_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget_tasks: None
) -> None:
    (tmp_path / "included_jobs.py").write_text("class Tidy:\n    def perform(self, room): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    app = Flask("host", instance_path=str(tmp_path / "instance"))
    app.config.update(OUTSOURCED_INCLUDE="included_jobs", OUTSOURCED_DATABASE_URL="sqlite://")
    Outsourced(app)
    assert {"Tidy", "included_jobs.Tidy"} <= set(registry)


def test_owner_limits_by_type(read: Any) -> None:
    assert read(OUTSOURCED_OWNER_LIMITS="User=100, Order=5").owner_limits == {"User": 100, "Order": 5}
    assert read(OUTSOURCED_OWNER_LIMITS={"User": 100}).owner_limits == {"User": 100}
