"""A deployment as it is in the field: web servers, a proxy on the way, and workers elsewhere.

Servers are gunicorn in this environment, workers `outsourced_worker` in `.venv-worker`, which has neither
Flask nor a database. What a person does, the real `flask outsourcer` does here.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import uuid6
from flask import Flask
from sqlalchemy import func, select

from outsourced.payload import encode_call
from outsourced.records import Job, NewJob
from outsourced.sql.backend import SqlBackend
from outsourced.sql.models import Job as JobRow
from outsourced.states import TERMINAL, State
from tests.acceptance.ledger import Ledger
from tests.acceptance.process import Process
from tests.acceptance.proxy import Proxy
from tests.acceptance.waiting import wait_until
from tests.server.conftest import SECRET, make_app, services_of

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = Path(__file__).resolve().parent / "host"
WORKER = ROOT / ".venv-worker/bin/outsourced_worker"
QUEUE = "chores"

GUNICORN = (
    *("-m", "gunicorn", "--worker-class", "gthread", "--workers", "1", "--threads", "16"),
    *("--graceful-timeout", "1", "--no-control-socket", "--log-level", "warning"),
)
#: short, so that what a killed worker held is handed out again within seconds
SETTINGS = {
    "OUTSOURCED_LEASE_TTL": "3s",
    "OUTSOURCED_HEARTBEAT_INTERVAL": "1s",
    "OUTSOURCED_JANITOR_INTERVAL": "250ms",
    "OUTSOURCED_PROMOTE_INTERVAL": "100ms",
    "OUTSOURCED_MAX_WAITERS": "8",
}
#: settings of the shell that would lead server or worker astray
MISLEADING = ("OUTSOURCED_", "FLASK_", "PYTHONPATH", "VIRTUAL_ENV", "LEDGER")


class Deployment:
    """Servers and workers on one database; made by `deployed`, which ends them all."""

    def __init__(self, folder: Path, database_url: str, app: Flask, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.ledger = Ledger(folder / "ledger")
        self.servers: list[Process] = []
        self.workers: list[Process] = []
        self._app = app
        self._ports: list[int] = []
        self._reserved: list[socket.socket] = []
        self._server_environment = (
            _clean_environment()
            | SETTINGS
            | {
                "OUTSOURCED_DATABASE_URL": database_url,
                "HOST_INSTANCE": str(folder / "instance"),
                "HOST_SECRET_KEY": SECRET,
            }
            | dict(settings)
        )
        self.proxy = Proxy(self._ports)

    @property
    def backend(self) -> SqlBackend:
        """The same store of jobs, in this process: for enqueueing, and for looking."""
        return services_of(self._app).backend

    def flask(self, *words: str) -> str:
        """Runs `flask outsourcer …`, which must succeed; gives what it printed."""
        result = self._app.test_cli_runner().invoke(args=["outsourcer", *words])
        if result.exit_code:
            raise AssertionError(f"flask outsourcer {' '.join(words)}: {result.output}") from result.exception
        return result.output

    def add_server(self, *options: str) -> Process:
        """Starts another server, with further options of gunicorn, and waits until it answers."""
        port = self._reserve_port()
        number = len(self.servers) + 1
        server = Process(
            f"server {number}",
            [sys.executable, *GUNICORN, "--bind", f"127.0.0.1:{port}", *options, "app:create_app()"],
            folder=HOST,
            environment=self._server_environment,
            log=self.folder / f"server-{number}.log",
        )
        server.start()
        self.servers.append(server)
        wait_until(lambda: answers(port))
        self._ports.append(port)
        return server

    @property
    def ports(self) -> Sequence[int]:
        """Where the servers answer."""
        return self._ports

    def serving(self) -> list[Process]:
        """The servers that answer just now."""
        return [server for server, port in zip(self.servers, self._ports, strict=True) if answers(port)]

    def add_worker(
        self, name: str, *options: str, settings: Mapping[str, str] = {}, environment: Mapping[str, str] = {}
    ) -> Process:
        """Starts another process of the worker of this name, which is made and hired where it is new.

        Its file then has the further settings.
        """
        place = self.folder / name
        if not place.exists():
            place.mkdir()
            shutil.copy(HOST / "chores.py", place)
            self.flask("worker", "create", name)
            self.flask("worker", "hire", name, QUEUE)
            file = str(place / "outsourced.yml")
            self.flask("worker", "config", "--include", "chores", "-o", file, name)
            with open(file, "a") as more:
                more.writelines(f"{key}: {value}\n" for key, value in settings.items())
        number = len(self.workers) + 1
        worker = Process(
            f"worker {number}",
            [WORKER, *options],
            folder=place,
            environment=_clean_environment() | {"LEDGER": str(self.ledger.path)} | dict(environment),
            log=self.folder / f"worker-{number}.log",
        )
        worker.start()
        self.workers.append(worker)
        return worker

    def add_server_worker(self, *options: str) -> Process:
        """Starts `flask outsourcer worker run`, beside the database, with the tasks of `indoors`."""
        number = len(self.workers) + 1
        worker = Process(
            f"worker {number}",
            [sys.executable, "-m", "flask", "--app", "app", "outsourcer", "worker", "run", *options],
            folder=HOST,
            environment=self._server_environment
            | {"OUTSOURCED_INCLUDE": "indoors", "LEDGER": str(self.ledger.path)},
            log=self.folder / f"worker-{number}.log",
        )
        worker.start()
        self.workers.append(worker)
        return worker

    def enqueue(self, task: str, *args: Any, count: int = 1, **options: Any) -> list[UUID]:
        """Enqueues so many jobs in one call; gives their ids."""
        payload = encode_call(args, {})
        jobs = [
            NewJob(id=uuid6.uuid7(), task=task, payload=payload, queue=QUEUE, **options) for _ in range(count)
        ]
        self.backend.enqueue(jobs)
        return [job.id for job in jobs]

    def job(self, job_id: UUID) -> Job:
        job = self.backend.job(job_id)
        assert job is not None
        return job

    def state(self, job_id: UUID) -> State:
        return self.job(job_id).state

    def unfinished(self) -> int:
        """How many jobs have not ended."""
        with self.backend.database.connect() as connection:
            live = select(func.count()).select_from(JobRow).where(JobRow.state.not_in(TERMINAL))
            return connection.scalar(live) or 0

    def wait_finished(self, seconds: float = 30.0) -> None:
        """Waits until every job has ended."""
        wait_until(lambda: not self.unfinished(), seconds)

    def drain(self) -> None:
        """Ends the workers as a person does, by TERM; each must end well, and of itself."""
        for worker in self.workers:
            worker.terminate()
        assert [worker.wait_ended() for worker in self.workers] == [0] * len(self.workers)

    def stop(self) -> None:
        """Ends workers and servers, and whatever they left."""
        for process in (*self.workers, *self.servers):
            process.end()
        self.proxy.stop()
        for reserved in self._reserved:
            reserved.close()

    def _reserve_port(self) -> int:
        reserved = reserve_port()
        self._reserved.append(reserved)
        return int(reserved.getsockname()[1])


@contextmanager
def deployed(
    folder: Path, database_url: str, *, servers: int = 1, settings: Mapping[str, str] = {}
) -> Iterator[Deployment]:
    """A deployment on a migrated database, initialised, with one queue and no worker yet."""
    app = make_app(folder, database_url, **settings)
    deployment = Deployment(folder, database_url, app, settings)
    deployment.proxy.start()
    try:
        deployment.flask("init", f"http://127.0.0.1:{deployment.proxy.port}/outsourced")
        deployment.flask("queue", "create", QUEUE)
        for _ in range(servers):
            deployment.add_server()
        yield deployment
    finally:
        deployment.stop()
        services_of(app).stop()


def reserve_port() -> socket.socket:
    """Holds a port nobody else is given, even while its server is down: bound here too, but not listening."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def answers(port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(MISLEADING)}
