"""Answers are lost after the commit they tell of: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import random

import pytest

from outsourced.states import Event
from tests.acceptance.conftest import Deploy, Say, needs_worker
from tests.acceptance.deployment import Deployment
from tests.acceptance.loss import Losses, ids
from tests.acceptance.production import Production
from tests.acceptance.seed import SEED
from tests.acceptance.verdict import assert_kept_promises, enqueued
from tests.acceptance.waiting import wait_until
from tests.checker import Records

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), needs_worker]

LOST = 100
#: long enough that no lease lapses: whatever a lost answer brought must come with its repetition
TTL = {"OUTSOURCED_LEASE_TTL": "60s", "OUTSOURCED_HEARTBEAT_INTERVAL": "1s"}


def test_lost_answers_to_claims_and_outcomes_lose_and_repeat_nothing(deploy: Deploy, say: Say) -> None:
    deployment = deploy(settings=TTL)
    losses = Losses(LOST, random.Random(SEED))
    deployment.proxy.watcher = losses
    for name, pool in (("near", "solo"), ("near", "threads"), ("far", "threads"), ("far", "threads")):
        deployment.add_worker(name, "-P", pool, "-c", "4")
    with Production(deployment, random.Random(SEED), backlog=120, longest=0.4) as production:
        wait_until(lambda: losses.is_done, 120)
    deployment.wait_finished()
    deployment.drain()

    for claim_id, leases in losses.claims:
        assert_heard(deployment, claim_id, leases)
    assert set(deployment.ledger.counts().values()) == {1}
    assert not {Event.RESCUE, Event.RECLAIM} & events_of(deployment)
    totals = assert_kept_promises(deployment, enqueued(production.acknowledged))
    say(f"\nlost answers: {len(losses.claims)} to claims, {len(losses.outcomes)} to outcomes; {totals}")


def assert_heard(deployment: Deployment, claim_id: str, leases: list[str]) -> None:
    """The same claim, made again, brought the same leases."""
    answers = [
        ids(passing.answered["leases"], "id")
        for passing in deployment.proxy.answered
        if passing.said.get("claim_id") == claim_id and passing.status == 200
    ]
    # one that came up empty, and was lost, may find something the next time
    brought = answers[answers.index(leases) :]
    assert len(brought) >= 2
    assert brought == [leases] * len(brought)


def events_of(deployment: Deployment) -> set[Event]:
    with deployment.backend.database.connect() as connection:
        return {step.event for step in Records.read(connection).history}
