"""`flask outsourcer task …`, `queue limit`, and the limits that the app's own tasks declare."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from outsourced import Celery, task
from outsourced.app import base
from outsourced.registry import registry
from outsourced.server.services import Services
from tests.server.cli.conftest import Cli, refused

Do = Callable[..., str]

pytestmark = pytest.mark.usefixtures("staffed", "own_task")

NAME = "limits.own"


@pytest.fixture
def own_task() -> Iterator[None]:
    """A task of the app that limits itself."""
    task(name=NAME, rate_limit="10/m")(lambda: None)
    yield
    for name in [name for name in registry if name.startswith("limits.")]:
        del registry._tasks[name]


def limits(do: Do) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(do("task", "limits", "--json"))
    return found


def test_limits_of_code_are_declared_with_the_first_tick(do: Do, services: Services) -> None:
    assert "Nothing is limited" in do("task", "limits")
    services.janitor.tick()
    assert {"kind": "task", "name": NAME, "limit": "10/m", "by": "code"} in limits(do)
    assert NAME in do("task", "limits")


def test_tasks_without_a_limit_have_the_default_of_an_app_of_celerys_shape(
    do: Do, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Celery("shop", set_as_current=False)
    app.conf.task_default_rate_limit = "5/s"
    app.task(name="limits.other")(lambda: None)
    app.task(name="limits.none", rate_limit=0)(lambda: None)
    monkeypatch.setattr(base, "_current", app)
    services.janitor.tick()
    declared = {found["name"]: found["limit"] for found in limits(do) if found["name"].startswith("limits.")}
    assert declared == {NAME: "10/m", "limits.other": "5/s"}


def test_a_limit_may_be_an_annotation(do: Do, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("shop", set_as_current=False)
    app.conf.task_annotations = {"limits.annotated": {"rate_limit": "3/m"}}
    app.task(name="limits.annotated")(lambda: None)
    monkeypatch.setattr(base, "_current", app)
    services.janitor.tick()
    assert {"kind": "task", "name": "limits.annotated", "limit": "3/m", "by": "code"} in limits(do)


def test_task_is_limited_and_given_back_to_its_code(do: Do, services: Services) -> None:
    services.janitor.tick()
    assert "now limited to: 1/h" in do("task", "limit", NAME, "1/h")
    assert "already limited to: 1/h" in do("task", "limit", NAME, "1/h")
    assert {"kind": "task", "name": NAME, "limit": "1/h", "by": "people"} in limits(do)
    do("task", "limit", NAME, "unlimited")
    assert {"kind": "task", "name": NAME, "limit": "unlimited", "by": "people"} in limits(do)
    do("task", "limit", NAME, "declared")
    assert {"kind": "task", "name": NAME, "limit": "10/m", "by": "code"} in limits(do)


def test_queue_is_limited(do: Do) -> None:
    do("queue", "limit", "stuff", "100/m")
    assert {"kind": "queue", "name": "stuff", "limit": "100/m", "by": "people"} in limits(do)
    do("queue", "limit", "stuff", "unlimited")
    assert "unlimited" in do("task", "limits")


def test_a_misspelt_limit_and_task_are_refused(run: Cli) -> None:
    assert "10/s, 10/m or 10/h" in run("task", "limit", NAME, "10/day").output
    assert "there is no queue 'nowhere'" in refused(run("queue", "limit", "nowhere", "1/s"))
    assert f"did you mean '{NAME}'" in refused(run("task", "limit", "limit.own", "1/s"))
