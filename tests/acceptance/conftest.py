"""A deployment of its own for a test: `deploy` makes it on the test's database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.deployment import WORKER, Deployment, deployed

Deploy = Callable[..., Deployment]
Say = Callable[[str], None]

#: for tests that start real workers
needs_worker = pytest.mark.skipif(not WORKER.exists(), reason="no .venv-worker: run `make test`")


@pytest.fixture
def deploy(tmp_path: Path, database_url: str) -> Iterator[Deploy]:
    """Makes a deployment, ended with the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(deployed(tmp_path, database_url, **options))


@pytest.fixture
def deployment(deploy: Deploy) -> Deployment:
    """A deployment with one server and no worker."""
    return deploy()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Prints, whether or not pytest captures."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    return say
