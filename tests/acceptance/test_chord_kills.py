"""Chords of a thousand members, and workers killed all the while: each body goes on once, with all results.

    CHORDS=100 TEST_SEED=… pytest tests/acceptance/test_chord_kills.py -s

makes so many of them; the suite is content with two.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from outsourced import backend, chord, signature
from outsourced.results import AsyncResult
from outsourced.states import Event
from tests.acceptance.conftest import Deploy, Say, needs_worker
from tests.acceptance.deployment import QUEUE, Deployment
from tests.acceptance.seed import SEED
from tests.acceptance.verdict import assert_kept_promises, enqueued

CHORDS = int(os.environ.get("CHORDS") or 2)
MEMBERS = 1_000
#: what the members' tasks take, in seconds, and give
NAPS = [number / 1e6 for number in range(MEMBERS)]
#: bytes that tasks add to the ledger from one kill to the next: some 30 to 300 runs, however fast they come
PACE = (10_000, 100_000)

WORKERS = (
    ("near", "-P", "processes", "-c", "2"),
    ("near", "-P", "threads", "-c", "2"),
    ("far", "-P", "threads", "-c", "4"),
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 60 * CHORDS), needs_worker]


class Killer:
    """Kills a worker at random, and starts it again, in a thread of its own."""

    def __init__(self, deployment: Deployment, chance: random.Random) -> None:
        self.kills = 0
        self._deployment = deployment
        self._chance = chance
        self._ending = threading.Event()
        self._failure: BaseException | None = None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Kills while the block lasts."""
        thread = threading.Thread(target=self._loop)
        thread.start()
        try:
            yield
        finally:
            self._ending.set()
            thread.join()
        assert self._failure is None, self._failure

    def _loop(self) -> None:
        try:
            due = self._chance.uniform(*PACE)
            while not self._ending.wait(0.01):
                if self._deployment.ledger.path.stat().st_size < due:
                    continue
                victim = self._chance.choice(self._deployment.workers)
                victim.kill_all()
                victim.revive(lambda _: None)
                self.kills += 1
                due = self._deployment.ledger.path.stat().st_size + self._chance.uniform(*PACE)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that uses it
            self._failure = error


def enqueue_chord() -> AsyncResult[float]:
    header = [signature("chore", (nap,), queue=QUEUE) for nap in NAPS]
    body: AsyncResult[float] = chord(header)(signature("total", queue=QUEUE))
    return body


def test_a_chord_goes_on_once_whoever_is_killed(deploy: Deploy, say: Say) -> None:
    deployment = deploy(servers=2)
    killer = Killer(deployment, random.Random(SEED))
    for worker in WORKERS:
        deployment.add_worker(*worker)
    say(f"\nseed {SEED}, {deployment.backend.database.dialect.name}")

    began, jobs = time.monotonic(), []
    with backend.use(deployment.backend), killer.at_work():
        for number in range(CHORDS):
            body = enqueue_chord()
            jobs += [body.job_id, *(member.job_id for member in body.parent)]
            assert body.get(timeout=60) == pytest.approx(sum(NAPS))
            assert body.parent.get(timeout=0) == NAPS
            events = [row.event for row in deployment.backend.history(body.job_id)]
            assert (events.count(Event.ADMIT), events.count(Event.COMPLETE)) == (1, 1)
            say(f"  {time.monotonic() - began:5.1f} s  chord {number + 1}, {killer.kills} kills")
    assert killer.kills >= CHORDS, "a chord writes some 400,000 bytes"
    deployment.wait_finished(60)
    totals = assert_kept_promises(deployment, enqueued(jobs))
    say(f"  {totals}")
    assert totals.duplicated, "a worker killed at work leaves its job to another"
