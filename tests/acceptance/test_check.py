"""`outsourced_worker --check` against a real server: what is good, and what is wrong in plain words."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.acceptance.conftest import needs_worker
from tests.acceptance.deployment import WORKER, Deployment
from tests.acceptance.gateway import Gateway
from tests.server.loopback import on_one_database

pytestmark = [pytest.mark.slow, needs_worker, on_one_database]

Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def check(deployment: Deployment) -> Check:
    """Runs `--check` with the file of a hired worker, in which some settings are changed."""
    deployment.flask("worker", "create", "near")
    deployment.flask("worker", "hire", "near", "chores")
    file = deployment.folder / "outsourced.yml"
    deployment.flask("worker", "config", "--include", "tasks", "-o", str(file), "near")
    (deployment.folder / "tasks.py").write_text("import outsourced\n@outsourced.task\ndef t(): ...\n")

    def check(**changes: str) -> subprocess.CompletedProcess[str]:
        settings = yaml.safe_load(file.read_text())
        changed = {name: value.replace("{url}", settings["url"]) for name, value in changes.items()}
        file.write_text(yaml.safe_dump(settings | changed))
        return subprocess.run(
            [WORKER, "--check", file],
            cwd=deployment.folder,
            env={"HOME": str(deployment.folder)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return check


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line it ends with."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_check_says_what_the_server_knows_of_a_worker(check: Check) -> None:
    done = check()
    assert done.returncode == 0
    assert "knows this worker as near" in done.stdout
    assert "queues   chores" in done.stdout
    assert "clock" not in done.stdout


def test_check_asks_whether_the_prefix_is_right(check: Check, deployment: Deployment) -> None:
    said = complaint(check(url=f"http://127.0.0.1:{deployment.ports[0]}/elsewhere"))
    assert "answered 404" in said
    assert "is `url:` right, with its prefix?" in said


def test_check_says_where_a_url_that_is_too_long_ends(check: Check) -> None:
    said = complaint(check(url="{url}/v1"))
    assert "there is nothing at /outsourced/v1/oauth/token" in said
    assert "ends where the blueprint is, with /outsourced" in said


def test_check_says_that_nobody_is_there(check: Check) -> None:
    assert "nothing listens at that port" in complaint(check(url="http://127.0.0.1:9/outsourced"))


def test_check_says_that_http_was_meant(check: Check, deployment: Deployment) -> None:
    said = complaint(check(url=f"https://127.0.0.1:{deployment.ports[0]}/outsourced"))
    assert "speaks no TLS we know there" in said


def test_check_says_how_to_log_in_at_the_proxy(check: Check) -> None:
    with Gateway(login="me:secret") as gateway:
        said = complaint(check(url="https://jobs.example.com/outsourced", proxy=f"http://{gateway.address}"))
    assert "the proxy asks for a login" in said


def test_check_says_that_credentials_were_revoked(check: Check, deployment: Deployment) -> None:
    deployment.flask("worker", "reset", "--yes", "near")
    said = complaint(check())
    assert "does not accept these credentials" in said
    assert "flask outsourcer worker config" in said


def test_check_says_that_the_worker_is_locked_out(check: Check, deployment: Deployment) -> None:
    deployment.flask("worker", "lock", "near")
    assert "flask outsourcer worker unlock" in complaint(check())


def test_check_says_that_the_authoritys_file_is_missing(check: Check, tmp_path: Path) -> None:
    assert f"there is no {tmp_path}/none.pem" in complaint(check(ca_bundle=f"{tmp_path}/none.pem"))
