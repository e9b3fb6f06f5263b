"""What users get wrong: one message that says what to do, no traceback, and no job lost.

| what is wrong | where it is tested |
| --- | --- |
| a task nobody knows | here; `tests/server/cli/test_cli.py`, enqueue_of_a_task_this_app_lacks |
| a module that does not import on the worker | here; `tests/worker/test_cli.py` |
| malformed JSON, NaN, nesting, content types | `tests/server/test_garbage.py`, `test_api_leases.py` |
| oversize bodies and files | `tests/server/test_api_leases.py`, `test_api_files.py`, `test_oauth.py` |
| an unknown queue or worker | `tests/sql/test_enqueue.py`, `test_workers.py`, `tests/server/cli` |
| a queue nobody works | here; `tests/sql/test_enqueue.py`, `tests/server/cli/test_cli.py` |
| credentials of another server, and revoked ones | here; `test_people_and_workers.py` |
| no server | here; `tests/worker/test_cli.py` |
| a configuration others can read | `tests/worker/test_cli.py` |
| migrations that were not run | here; `tests/server/test_cli_process.py`, `test_services.py` |
| the `server` extra missing | `tests/packaging/test_worker_without_server.py` |
| a port that is taken | `test_run.py` |
| the host's open transaction | `tests/server/test_guest.py`, `test_joining.py` |
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from sqlalchemy import text

from outsourced.states import State
from tests.acceptance.conftest import Deploy, needs_worker
from tests.acceptance.deployment import Deployment
from tests.acceptance.process import Process
from tests.acceptance.waiting import wait_until

pytestmark = [pytest.mark.slow, needs_worker]

THREADS = ("-P", "threads", "-c", "1")


def says_only(worker: Process, *words: str) -> bool:
    """Whether the worker's log has these words, and no traceback."""
    return all(worker.says(word) for word in words) and not worker.says("Traceback")


def rename(deployment: Deployment, table: str, name: str) -> None:
    with deployment.backend.database.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))


def change(file: Path, **settings: str) -> None:
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | settings))


def test_job_of_a_task_nobody_knows_waits_and_says_why(deployment: Deployment) -> None:
    (unknown,) = deployment.enqueue("nowhere.to_be_found")
    (known,) = deployment.enqueue("chore", 0.0)
    deployment.add_worker("near", *THREADS)
    wait_until(lambda: deployment.state(known) is State.COMPLETED)
    assert deployment.state(unknown) is State.UNASSIGNED
    told = deployment.flask("job", "show", str(unknown))
    assert "nowhere.to_be_found" in told
    assert "waits because" in told
    assert "include" in told


def test_job_in_a_queue_nobody_works_waits_and_says_why(deployment: Deployment) -> None:
    deployment.flask("queue", "create", "lonely")
    deployment.flask("job", "enqueue", "chore", "[0]", "-q", "lonely")
    (job,) = deployment.backend.jobs(queue="lonely")
    assert "`flask outsourcer queue hire lonely WORKER`" in deployment.flask("job", "show", str(job.id))


def test_worker_whose_module_does_not_import_says_so_and_takes_no_job(deployment: Deployment) -> None:
    (job,) = deployment.enqueue("chore", 0.0)
    broken = deployment.add_worker("near", "-I", "chores_of_others", *THREADS)
    assert broken.wait_ended() == 2
    assert says_only(broken, "there is no module 'chores_of_others' here", "install the package")
    assert deployment.state(job) is State.UNASSIGNED


@pytest.mark.parametrize("setting", ["key_id", "audience", "worker"])
def test_worker_with_credentials_of_another_server_ends_and_says_what_to_do(
    deployment: Deployment, setting: str
) -> None:
    deployment.add_worker("near", "--version").wait_ended()  # its configuration is there now
    change(deployment.folder / "near/outsourced.yml", **{setting: "of-another-server"})
    (job,) = deployment.enqueue("chore", 0.0)
    worker = deployment.add_worker("near", *THREADS)
    assert worker.wait_ended() == 1
    assert says_only(worker, "the server does not accept these credentials", "flask outsourcer worker config")
    assert deployment.state(job) is State.UNASSIGNED


def test_worker_that_finds_no_server_waits_for_it(deploy: Deploy) -> None:
    deployment = deploy(servers=0)
    (job,) = deployment.enqueue("chore", 0.0)
    worker = deployment.add_worker("near", *THREADS)
    wait_until(lambda: worker.says("trying again, with growing pauses"))
    deployment.add_server()
    wait_until(lambda: deployment.state(job) is State.COMPLETED)
    assert says_only(worker, "the server answers again")


def test_worker_waits_for_a_server_whose_tables_are_missing(deployment: Deployment) -> None:
    (job,) = deployment.enqueue("chore", 0.0)
    deployment.add_worker("near", "--version").wait_ended()  # its configuration is there now
    rename(deployment, "outsourced_installation", "mislaid")
    worker = deployment.add_worker("near", *THREADS)
    wait_until(lambda: worker.says("flask outsourcer init"))
    assert worker.says("the server cannot answer now")
    assert worker.runs
    rename(deployment, "mislaid", "outsourced_installation")
    wait_until(lambda: deployment.state(job) is State.COMPLETED)
    assert says_only(worker, "the server answers again")
