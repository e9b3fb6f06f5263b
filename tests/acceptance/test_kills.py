"""The seeded kill loop: workers, slot processes and servers die in every phase, and no job is harmed.

    TEST_SEED=… pytest tests/acceptance/test_kills.py -s

repeats the order of a run that failed; the moments are the machine's own.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.conftest import Deploy, Say, needs_worker
from tests.acceptance.deployment import Deployment
from tests.acceptance.nemesis import Aim, Kill, Nemesis, Phase, Victim
from tests.acceptance.production import Production
from tests.acceptance.seed import SEED
from tests.acceptance.verdict import assert_kept_promises, enqueued
from tests.acceptance.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), needs_worker]

KILLS = 20

WORKERS = (
    ("near", "-P", "processes", "-c", "2"),
    ("near", "-P", "threads", "-c", "2"),
    ("far", "-P", "threads", "-c", "4"),
)


def aims(random: random.Random) -> list[Aim]:
    """Every kill of a run, in its order."""
    phases = list(Phase)
    chosen = [Aim(victim, phase) for victim in (Victim.WORKER, Victim.SERVER) for phase in phases] * (
        KILLS // len(phases)
    )
    chosen += [Aim(Victim.SLOT, Phase.BEGUN)] * KILLS  # a slot process neither claims nor sends
    random.shuffle(chosen)
    return chosen


def is_told(nemesis: Nemesis, kill: Kill) -> bool:
    """Whether the worker itself reported the loss of its slot process."""
    return (nemesis.rescuer_of(kill) or "").startswith("worker:")


def test_no_job_is_harmed_by_kills_in_any_phase(deploy: Deploy, say: Say) -> None:
    chance = random.Random(SEED)
    deployment = deploy(servers=2)
    nemesis = Nemesis(deployment, chance)
    deployment.proxy.watcher = nemesis
    for worker in WORKERS:
        deployment.add_worker(*worker)
    say(f"\nseed {SEED}, {deployment.backend.database.dialect.name}")

    kills: list[Kill] = []
    began = time.monotonic()
    with Production(deployment, random.Random(SEED), backlog=60, longest=0.6) as production:
        for aim in aims(chance):
            kills.append(nemesis.strike(aim))
            say(f"  {time.monotonic() - began:5.1f} s  {kills[-1]}")
            time.sleep(chance.uniform(0, 0.1))
    deployment.wait_finished(60)
    deployment.drain()
    say(f"  {time.monotonic() - began:5.1f} s  {len(kills)} kills survived")

    assert Counter(kill.aim for kill in kills) == Counter(aims(chance))
    reported = [kill for kill in kills if kill.aim.victim is Victim.SLOT and is_told(nemesis, kill)]
    assert reported, "a worker whose slot process was killed says so"
    assert {passing.status for passing in deployment.proxy.answered} <= {200, 503}
    totals = assert_kept_promises(deployment, enqueued(production.acknowledged))
    say(f"  {totals}")
    assert totals.duplicated, "a worker killed at work leaves its job to another"


def test_killed_slot_process_costs_its_own_job_alone(deployment: Deployment, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    worker = deployment.add_worker("near", "-P", "processes", "-c", "2")
    jobs = deployment.enqueue("hold", str(gate), count=2)
    wait_until(lambda: {run.job_id for run in deployment.ledger.running()} == set(jobs))
    victim, sibling = deployment.ledger.running()
    pid = worker.pid
    os.kill(victim.pid, signal.SIGKILL)
    wait_until(lambda: len(deployment.ledger.of(victim.job_id)) == 2)  # again, in a new process
    gate.touch()
    deployment.wait_finished()

    assert worker.pid == pid
    assert worker.runs
    assert deployment.ledger.of(sibling.job_id) == [sibling]
    assert deployment.job(sibling.job_id).attempt == 1
    lost, again = deployment.ledger.of(victim.job_id)
    assert (lost.ended, lost.pid == again.pid, again.pid == sibling.pid) == (None, False, False)
    assert deployment.job(victim.job_id).losses == 1
    assert_kept_promises(deployment, enqueued(jobs))
