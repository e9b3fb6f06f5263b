"""Where a host's habits meet our threads: reloader, preload, servers without threads, shell, CSRF.

A real host app (`host/shop.py`) in real processes, on a real socket; it tells the names of its threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
import requests
import yaml
from sqlalchemy import make_url

from outsourced.http.backend import HttpConsumer
from outsourced.http.token import KeyProof
from outsourced.http.transport import Transport
from outsourced.records import ExchangeReply, ExchangeRequest, Instance
from tests.acceptance.deployment import HOST, MISLEADING, answers, reserve_port
from tests.acceptance.process import Process
from tests.acceptance.waiting import wait_until

pytestmark = pytest.mark.slow

FLASK = ("-m", "flask")
GUNICORN = ("-m", "gunicorn", "--no-control-socket", "--worker-class", "gthread", "--threads", "4")
JANITOR = "outsourced-janitor"


class Shop:
    """The host app's folder, its environment, and what runs of it."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder = folder
        self._running: list[Process] = []
        self._reserved = reserve_port()
        self.port = int(self._reserved.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(MISLEADING)}
        self._environment = kept | {
            "FLASK_APP": "shop",
            "HOST_INSTANCE": str(folder / "instance"),
            "HOST_DATABASE_URL": _with_driver(database_url),
            "OUTSOURCED_JANITOR_INTERVAL": "200ms",
            "OUTSOURCED_PROMOTE_INTERVAL": "100ms",
        }

    def run(self, *command: str, words: str = "") -> str:
        """Runs a command to its end, which must be good; gives what it printed."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=HOST,
            env=self._environment,
            input=words,
            timeout=60,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *command: str, settings: Mapping[str, str] = {}) -> Process:
        """Starts a server, or another process that goes on."""
        process = Process(
            "shop",
            [sys.executable, *command],
            folder=HOST,
            environment=self._environment | dict(settings),
            log=self._folder / f"{len(self._running)}.log",
        )
        process.start()
        self._running.append(process)
        return process

    def serve(self, *command: str) -> Process:
        """Starts a server, and waits until it answers."""
        server = self.start(*command)
        wait_until(lambda: answers(self.port))
        return server

    def health(self) -> str:
        """What `healthz` says."""
        status: str = requests.get(f"{self.url}/outsourced/healthz", timeout=10).json()["status"]
        return status

    def poll(self, credentials: dict[str, Any], *, wait: float) -> ExchangeReply:
        """What the server answers to a worker that has nothing to report, with the client we ship."""
        consumer = HttpConsumer(Transport(**credentials), pauses=())
        instance = Instance(id=uuid4(), host="site", pid=1, version="0.1.0")
        asks = ExchangeRequest(instance=instance, claim_id=uuid4(), slots=1, wait=wait, tasks=("t",))
        try:
            return consumer.exchange(asks)
        finally:
            consumer.close()

    def credentials(self) -> dict[str, Any]:
        """Those of a worker, hired here."""
        for words in (["worker", "create", "w"], ["queue", "hire", "w"]):
            self.run(*FLASK, "outsourcer", *words)
        file = yaml.safe_load(self.run(*FLASK, "outsourcer", "worker", "config", "w"))
        proof = KeyProof(**{name: file[name] for name in ("key_id", "private_key", "audience")})
        return {"url": file["url"], "client_id": file["worker"], "proof": proof}

    def end(self) -> None:
        """Ends what runs of it."""
        for process in self._running:
            process.end()
        self._reserved.close()


def _with_driver(url: str) -> str:
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Iterator[Shop]:
    shop = Shop(tmp_path, database_url)
    shop.run(*FLASK, "outsourcer", "init", f"{shop.url}/outsourced")
    shop.run(*FLASK, "outsourcer", "queue", "create", "chores")
    yield shop
    shop.end()


def with_janitor(shop: Shop) -> set[int]:
    """The serving process that happens to answer, if it has our thread."""
    shop.health()
    told = requests.get(f"{shop.url}/threads", timeout=10).json()
    return {told["pid"]} if JANITOR in told["names"] else set()


def test_reloader_s_parent_does_no_duties(shop: Shop) -> None:
    server = shop.serve(*FLASK, "run", "--debug", "--port", str(shop.port))
    wait_until(lambda: shop.health() == "green")
    (child,) = server.children()
    assert with_janitor(shop) == {child.pid}
    assert psutil.Process(server.pid).num_threads() == 1


def test_preloaded_app_does_its_duties_in_each_worker(shop: Shop) -> None:
    bind = f"127.0.0.1:{shop.port}"
    server = shop.serve(*GUNICORN, "--preload", "--workers", "2", "--bind", bind, "shop:create_app()")
    seen: set[int] = set()

    def both_serve() -> bool:
        seen.update(with_janitor(shop))
        return len(seen) == 2

    wait_until(both_serve)
    assert seen == {child.pid for child in server.children()}
    assert psutil.Process(server.pid).num_threads() == 1
    wait_until(lambda: shop.health() == "green")


def test_preloaded_app_that_has_used_its_database_serves_after_the_fork(shop: Shop, tmp_path: Path) -> None:
    warm = tmp_path / "warm.py"
    warm.write_text(
        "from shop import create_app, greet\napp = create_app()\n"
        "with app.app_context():\n    greet.delay('from the parent')\n"
    )
    command = (
        "--preload",
        "--workers",
        "2",
        "--bind",
        f"127.0.0.1:{shop.port}",
        "--pythonpath",
        str(tmp_path),
    )
    shop.serve(*GUNICORN, *command, "warm:app")
    for name in "abcdefgh":
        assert requests.get(f"{shop.url}/greet/{name}", timeout=10).ok
    assert shop.run(*FLASK, "outsourcer", "job", "list").count("greet") == 9


def test_shell_enqueues_and_does_no_duties(shop: Shop) -> None:
    said = shop.run(
        *FLASK, "shell", words="from shop import greet, threads; greet.delay('x'); print(threads())\n"
    )
    assert "MainThread" in said
    assert JANITOR not in said
    assert shop.run(*FLASK, "outsourcer", "job", "list").count("greet") == 1


def test_server_without_threads_parks_no_poll(shop: Shop) -> None:
    shop.serve(*FLASK, "run", "--without-threads", "--port", str(shop.port))
    credentials = shop.credentials()
    asked_at = time.monotonic()
    reply = shop.poll(credentials, wait=20.0)
    assert time.monotonic() - asked_at < 15
    assert reply.leases == ()
    assert reply.retry_after is not None
    assert 1 <= reply.retry_after <= 5


def test_maintain_does_the_duties_where_no_server_does(shop: Shop) -> None:
    def last_tick() -> str | None:
        tick: str | None = json.loads(shop.run(*FLASK, "outsourcer", "stats", "--json"))["alive_at"]
        return tick

    assert last_tick() is None
    keeper = shop.start(*FLASK, "outsourcer", "maintain")
    wait_until(lambda: last_tick() is not None)
    keeper.terminate()
    assert keeper.wait_ended() == 0


def test_csrf_protection_spares_our_clients_alone(shop: Shop) -> None:
    shop.serve(*FLASK, "run", "--port", str(shop.port))
    assert requests.post(f"{shop.url}/form", timeout=10).status_code == 400
    assert shop.poll(shop.credentials(), wait=0.0).leases == ()
