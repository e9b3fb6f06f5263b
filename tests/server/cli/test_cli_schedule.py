"""`flask outsourcer schedule …`, and what the app's configuration says of schedules."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

import outsourced
from outsourced.app import base
from outsourced.errors import ConfigurationError
from outsourced.schedules import crontab
from outsourced.server.services import Services
from outsourced.signals import beat_init
from tests.server.cli.conftest import Cli, refused, runner_of
from tests.server.conftest import make_app, services_of

Do = Callable[..., str]

pytestmark = pytest.mark.usefixtures("staffed")

NIGHTLY = {"task": "reports.nightly", "schedule": crontab(0, 3), "args": (1,)}


@pytest.fixture(autouse=True)
def no_app_is_left() -> Iterator[None]:
    yield
    base._current = None


@pytest.fixture
def app(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    monkeypatch.chdir(tmp_path)
    app = make_app(
        tmp_path,
        sqlite_url,
        OUTSOURCED_BEAT_SCHEDULE={"nightly": NIGHTLY},
        OUTSOURCED_TIMEZONE="Europe/Vienna",
    )
    yield app
    services_of(app).stop()


def test_schedules_of_the_configuration_are_declared_by_a_server_and_listed(do: Do) -> None:
    assert "Nothing recurs yet" in do("schedule", "list")
    do("maintain", "--once")
    assert "0 3 * * * (Europe/Vienna)" in do("schedule", "list")
    (listed,) = json.loads(do("schedule", "list", "--json"))
    assert {name: listed[name] for name in ("name", "task", "spec", "zone", "queue", "paused")} == {
        "name": "nightly",
        "task": "reports.nightly",
        "spec": "0 3 * * *",
        "zone": "Europe/Vienna",
        "queue": None,
        "paused": False,
    }


def test_beat_init_is_sent_when_a_server_has_read_what_recurs(do: Do) -> None:
    told: list[str] = []

    @beat_init.connect
    def note(sender: Any = None, **kwargs: Any) -> None:
        told.append("init")

    do("maintain", "--once")
    assert told == ["init"]


def test_schedule_ticks_while_servers_maintain(do: Do, services: Services) -> None:
    do("maintain", "--once")
    services.database.clock_offset += timedelta(days=1)
    assert "schedule: 1" in do("maintain", "--once")
    (job,) = json.loads(do("job", "list", "--json"))
    assert job["task"] == "reports.nightly"
    assert job["id"] in do("schedule", "list")


def test_schedule_pauses_resumes_and_runs_out_of_turn(do: Do, run: Cli) -> None:
    do("maintain", "--once")
    assert "now paused" in do("schedule", "pause", "nightly")
    assert "already paused" in do("schedule", "pause", "nightly")
    assert "paused" in do("schedule", "list")
    assert "ticks again" in do("schedule", "resume", "nightly")
    assert "is not paused" in do("schedule", "resume", "nightly")
    job_id = do("schedule", "run", "nightly").strip()
    assert "reports.nightly" in do("job", "show", job_id)
    assert "did you mean 'nightly'" in refused(run("schedule", "pause", "nightli"))


def test_schedules_of_an_app_of_celerys_shape_are_declared_too(app: Flask, do: Do) -> None:
    celery = app.extensions["celery"] = outsourced.Celery("shop")
    celery.conf.update(timezone="America/New_York", beat_schedule={"often": {"task": "t", "schedule": 30}})
    celery.on_after_finalize.connect(
        lambda sender, **extra: sender.add_periodic_task(60, "t", name="minutely", queue="stuff")
    )
    do("maintain", "--once")
    found = {one["name"]: one for one in json.loads(do("schedule", "list", "--json"))}
    assert {name: (one["spec"], one["zone"]) for name, one in found.items()} == {
        "often": ("every 30", "America/New_York"),
        "minutely": ("every 60", "America/New_York"),
        "nightly": ("0 3 * * *", "America/New_York"),
    }
    assert found["minutely"]["queue"] == "stuff"


def test_schedules_that_cannot_be_read_stop_no_other_duty(
    app: Flask, do: Do, caplog: pytest.LogCaptureFixture
) -> None:
    app.extensions["celery"] = outsourced.Celery("shop", changes={"beat_schedule": {"broken": {}}})
    with caplog.at_level(logging.ERROR):
        assert "promote" in do("maintain", "--once")
    assert "schedule 'broken'" in caplog.text


def test_an_environment_says_it_in_json(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"hourly": {"task": "t", "schedule": "0 * * * *"}, "often": {"task": "t", "schedule": 5}}
    monkeypatch.setenv("OUTSOURCED_BEAT_SCHEDULE", json.dumps(entries))
    app = make_app(tmp_path, sqlite_url)
    try:
        do = runner_of(app)
        do("maintain", "--once")
        listed = json.loads(do("schedule", "list", "--json").stdout)
        assert [(one["name"], one["spec"]) for one in listed] == [
            ("hourly", "0 * * * *"),
            ("often", "every 5"),
        ]
    finally:
        services_of(app).stop()


@pytest.mark.parametrize(
    "config",
    [
        {"OUTSOURCED_BEAT_SCHEDULE": "nightly"},
        {"OUTSOURCED_BEAT_SCHEDULE": {"nightly": 3}},
        {"OUTSOURCED_BEAT_SCHEDULE": {"nightly": {"task": "t", "schedule": "at night"}}},
        {"OUTSOURCED_TIMEZONE": "Vienna"},
    ],
)
def test_nonsense_is_refused_by_the_name_of_the_setting(
    tmp_path: Path, sqlite_url: str, config: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(config))):
        make_app(tmp_path, sqlite_url, **config)


def test_results_are_kept_as_long_as_celery_says(app: Flask, services: Services, do: Do) -> None:
    outsourced.Celery("shop", changes={"result_expires": 3600})
    fresh = Services(app)
    assert fresh.backend.retention.results == timedelta(hours=1)
    fresh.stop()
