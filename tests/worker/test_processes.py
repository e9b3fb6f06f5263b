"""Slot processes: what a death costs, and whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from outsourced_worker.holding import HORIZON
from outsourced_worker.pools.child import Lifespan
from outsourced_worker.pools.slot import describe_exit
from tests.acceptance.waiting import wait_until
from tests.worker.conftest import Start, make_worker
from tests.worker.fakeserver import FakeServer


def test_killed_process_fails_its_job_alone(server: FakeServer) -> None:
    server.enqueue("noop", 1, count=200)
    (victim,) = server.enqueue("die")
    server.enqueue("noop", 2, count=200)
    make_worker(server, "processes", burst=True).work()
    assert server.kinds().count("completed") == 400
    assert victim.outcome
    assert victim.outcome.kind == "lost"
    assert victim.outcome.reason == "process died: signal 9 (SIGKILL)"
    assert victim.outcome.error
    assert {job.deliveries for job in server.jobs.values()} == {1}


def test_process_that_exits_tells_its_code(server: FakeServer) -> None:
    (job,) = server.enqueue("leave")
    make_worker(server, "processes", burst=True).work()
    assert job.outcome
    assert job.outcome.reason == "process died: exit code 3"


def test_many_deaths_cost_only_their_jobs(server: FakeServer) -> None:
    victims = []
    for _ in range(5):
        server.enqueue("noop", 1, count=100)
        victims += server.enqueue("die")
    make_worker(server, "processes", burst=True).work()
    assert [str(job.outcome.kind) for job in victims if job.outcome] == ["lost"] * 5
    assert server.kinds().count("completed") == 500


def test_idle_process_that_is_killed_is_replaced(server: FakeServer, start: Start) -> None:
    with start("processes", slots=1) as running:
        server.wait_ended(*server.enqueue("pid"))
        (pid,) = running.worker.pool.pids  # type: ignore[attr-defined]
        os.kill(pid, signal.SIGKILL)
        server.wait_ended(*server.enqueue("noop", 1, count=10))
    assert set(server.kinds()) == {"completed"}


def test_folder_of_a_killed_process_is_swept_by_the_next(
    server: FakeServer, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    with start("processes", slots=1):
        server.wait_ended(*server.enqueue("die_in_workdir", str(tmp_path / "marker")))
        server.wait_ended(*server.enqueue("noop", 1))
    folder = Path((tmp_path / "marker").read_text())
    assert folder.parent == tmp_path / "tmp"
    assert not folder.exists()


def test_processes_run_jobs_in_parallel(server: FakeServer, start: Start, tmp_path: Path) -> None:
    slow = server.enqueue("wait_for", str(tmp_path / "go"), count=2)
    with start("processes", slots=2):
        server.wait_for(lambda: all(job.begun for job in slow), timeout=5)
        (tmp_path / "go").touch()
        server.wait_ended()


def test_job_is_not_put_behind_another_while_a_process_is_idle(
    server: FakeServer, start: Start, tmp_path: Path
) -> None:
    open_gate, gate = tmp_path / "open", tmp_path / "gate"
    open_gate.touch()
    with start("processes", slots=2) as running:
        wait_until(lambda: running.worker.pool.slots == 2)
        server.wait_ended(*server.enqueue("wait_for", str(open_gate), count=20))  # known to be short
        (long,) = server.enqueue("wait_for", str(gate))
        server.wait_for(lambda: long.begun)
        (short,) = server.enqueue("wait_for", str(open_gate))
        server.wait_ended(short)
        assert short.releases == 0
        assert long.outcome is None
        gate.touch()


def test_killed_run_does_not_make_its_task_a_short_one(server: FakeServer, start: Start) -> None:
    with start("processes", slots=1) as running:
        server.wait_ended(*server.enqueue("die"))
        assert running.worker.ledger.times.of("die") == HORIZON


@pytest.mark.parametrize("lifespan", [Lifespan(max_tasks=3), Lifespan(max_memory=1)])
def test_process_makes_room_for_a_fresh_one_and_no_job_suffers(
    server: FakeServer, lifespan: Lifespan
) -> None:
    jobs = server.enqueue("pid", count=7)
    make_worker(server, "processes", slots=1, burst=True, lifespan=lifespan).work()
    assert server.kinds() == ["completed"] * 7
    assert [job.outcome.kind for job in jobs if job.outcome] == ["completed"] * 7
    pids = Counter(job.outcome.result for job in jobs if job.outcome)
    assert max(pids.values()) <= (lifespan.max_tasks or 1)
    assert len(pids) == (3 if lifespan.max_tasks else 7)


def test_large_arguments_and_results_pass(server: FakeServer) -> None:
    server.enqueue("noop", "x" * 200_000, count=30)
    make_worker(server, "processes", burst=True).work()
    assert set(server.kinds()) == {"completed"}


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_processes_die_with_the_worker(tmp_path: Path) -> None:
    script = tmp_path / "orphan.py"
    script.write_text(
        "from tests.worker.conftest import make_worker\n"
        "from tests.worker.fakeserver import FakeServer\n"
        "if __name__ == '__main__':\n"
        "    import threading, time\n"
        "    worker = make_worker(FakeServer(), 'processes')\n"
        "    def tell():\n"
        "        while worker.pool.slots < 2: time.sleep(0.01)\n"
        "        print(*worker.pool.pids, flush=True)\n"
        "    threading.Thread(target=tell, daemon=True).start()\n"
        "    worker.run()\n"
    )
    worker = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=child_env()
    )
    assert worker.stdout
    pids = [int(pid) for pid in worker.stdout.readline().split()]
    worker.kill()
    worker.wait()
    worker.stdout.close()
    deadline = time.monotonic() + 5
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_second_term_gives_begun_jobs_back_and_exits(tmp_path: Path, pool: str) -> None:
    script = tmp_path / "stubborn.py"
    script.write_text(
        "from tests.worker.conftest import make_worker\n"
        "from tests.worker.fakeserver import FakeServer\n"
        "class Server(FakeServer):\n"
        "    def exchange(self, request):\n"
        "        reply = super().exchange(request)\n"
        "        if any(outcome.kind == 'released' for outcome in request.outcomes):\n"
        "            print('released', flush=True)\n"
        "        elif request.begun:\n"
        "            print('begun', flush=True)\n"
        "        return reply\n"
        "server = Server()\n"
        f"(job,) = server.enqueue('wait_for', {str(tmp_path / 'never')!r})\n"
        f"worker = make_worker(server, {pool!r})\n"
        "raise SystemExit(worker.run())\n"
    )
    worker = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=child_env()
    )
    assert worker.stdout
    assert worker.stdout.readline() == "begun\n"
    worker.terminate()
    time.sleep(0.2)
    assert worker.poll() is None
    worker.terminate()
    assert worker.stdout.readline() == "released\n"
    assert worker.wait(5) == 0
    worker.stdout.close()


def test_describe_exit_names_signals() -> None:
    assert describe_exit(-9) == "signal 9 (SIGKILL)"
    assert describe_exit(-250) == "signal 250"
    assert describe_exit(1) == "exit code 1"


def child_env() -> dict[str, str]:
    root = Path(__file__).parents[2]
    paths = [str(root), str(root / "worker"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
