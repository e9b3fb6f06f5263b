"""`flask outsourcer …` typed at a host app of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from outsourced.server.services import Services
from tests.server.conftest import make_app, services_of

URL = "https://jobs.example.com/outsourced"

Cli = Callable[..., Result]


@pytest.fixture
def app(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """A host app on tables nobody has initialised; the current folder is the test's own."""
    monkeypatch.chdir(tmp_path)
    app = make_app(tmp_path, sqlite_url)
    yield app
    services_of(app).stop()


@pytest.fixture
def services(app: Flask) -> Services:
    return services_of(app)


def runner_of(app: Flask) -> Cli:
    def run(*words: str, input: str | None = None) -> Result:
        result = app.test_cli_runner().invoke(args=["outsourcer", *words], input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def run(app: Flask) -> Cli:
    """Runs a command, whatever its exit code."""
    return runner_of(app)


@pytest.fixture
def do(run: Cli) -> Callable[..., str]:
    """Runs a command that must succeed; gives what it printed."""

    def do(*words: str, input: str | None = None) -> str:
        result = run(*words, input=input)
        assert result.exit_code == 0, result.output
        return result.stdout

    return do


@pytest.fixture
def staffed(do: Callable[..., str]) -> None:
    """An installation with queue `stuff`, and worker `phill` hired for it."""
    do("init", URL)
    do("worker", "create", "phill")
    do("queue", "create", "stuff")
    do("queue", "hire", "phill")


def refused(result: Result) -> str:
    """The message of a command that failed."""
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return result.stderr
