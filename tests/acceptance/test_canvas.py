"""Canvases with real servers and workers: what is passed on, what is called, and what a kill does to it."""

from __future__ import annotations

import pytest

from outsourced import AsyncResult, backend, chain, chord, group, signature, xmap
from outsourced.canvas import Signature
from outsourced.errors import ChordError
from outsourced.states import State
from tests.acceptance.conftest import Deploy, needs_worker
from tests.acceptance.deployment import QUEUE, Deployment
from tests.acceptance.waiting import wait_until

pytestmark = [pytest.mark.slow, needs_worker]

MEMBERS = 24
SURVEYS = 10


@pytest.fixture
def deployment(deploy: Deploy) -> Deployment:
    return deploy()


def call(task: str, *args: object) -> Signature:
    return signature(task, args, queue=QUEUE)


def test_chord_survives_the_kill_of_its_worker(deployment: Deployment) -> None:
    victim = deployment.add_worker("near", "-P", "processes", "-c", "2")
    with backend.use(deployment.backend):
        result = chord(call("chore", 0.2) for _ in range(MEMBERS))(call("total") | call("chore"))
        wait_until(lambda: len(deployment.backend.jobs(state=State.COMPLETED)) >= 4)
        victim.kill()
        deployment.add_worker("near", "-P", "threads", "-c", "4")
        assert result.get(timeout=60) == result.parent.get() == pytest.approx(0.2 * MEMBERS)
        header = result.parent.parent
        assert header.get() == [0.2] * MEMBERS
    deployment.wait_finished()
    assert len(deployment.ledger.of(result.parent.job_id)) == 1
    events = [row.event for row in deployment.backend.history(result.parent.job_id)]
    assert events.count("admit") == 1


def test_errback_runs_elsewhere_and_is_told(deployment: Deployment) -> None:
    deployment.add_worker("near", "-P", "processes", "-c", "2")
    with backend.use(deployment.backend):
        made = chord([call("chore", 0.0), call("fail", "on purpose")], call("total"))
        result = made.on_error(call("hear")).delay()
        with pytest.raises(ChordError, match=r"raised ValueError\('on purpose'\)"):
            result.get(timeout=30)
        deployment.wait_finished()
    (heard,) = deployment.backend.jobs(task="hear")
    told = AsyncResult(heard.id, producer=deployment.backend).get()
    assert told[:3] == [result.id, "total", "ChordError"]


def test_a_task_enqueues_a_canvas_under_its_lease(deployment: Deployment) -> None:
    deployment.add_worker("near", "-P", "processes", "-c", "2")
    (woven,) = deployment.enqueue("weave", [0.1, 0.2])
    with backend.use(deployment.backend):
        body = AsyncResult(AsyncResult(woven).get(timeout=30))
        assert body.get(timeout=30) == pytest.approx(0.3)


def test_replaced_jobs_survive_the_kill_of_their_worker(deployment: Deployment) -> None:
    victim = deployment.add_worker("near", "-P", "processes", "-c", "2")
    with backend.use(deployment.backend):
        results = [(call("survey", [0.1, 0.2]) | call("double")).delay() for _ in range(SURVEYS)]
        wait_until(lambda: len(deployment.backend.jobs(state=State.COMPLETED)) >= 4)
        victim.kill()
        deployment.add_worker("near", "-P", "threads", "-c", "4")
        assert [result.get(timeout=60) for result in results] == [pytest.approx(0.6)] * SURVEYS
    deployment.wait_finished()
    for result in results:
        events = [row.event for row in deployment.backend.history(result.parent.job_id)]
        assert (events.count("replace"), events.count("admit"), events[-1]) == (1, 1, "complete")


def test_body_waits_for_what_is_added_to_its_chord(deployment: Deployment) -> None:
    deployment.add_worker("near", "-P", "processes", "-c", "2")
    with backend.use(deployment.backend):
        body = chord([call("extend", [0.1, 0.2]), call("chore", 0.3)], call("total")).delay()
        assert body.get(timeout=30) == pytest.approx(0.6)


def test_map_and_groups_in_a_chain(deployment: Deployment) -> None:
    deployment.add_worker("near", "-P", "threads", "-c", "4")
    with backend.use(deployment.backend):
        mapped = xmap(call("double"), [1, 2]).delay()
        header = group(call("chore", 0.1), call("chore", 0.2))
        results = chain(header, group(call("total"), call("total"))).delay()
        assert mapped.get(timeout=30) == [2, 4]
        assert results.get(timeout=30) == [pytest.approx(0.3)] * 2
