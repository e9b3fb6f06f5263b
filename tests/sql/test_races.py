"""What people forbid is forbidden once they are told so: no claim under way is committed after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from outsourced.sql import queues, workers
from outsourced.sql.backend import SqlBackend
from outsourced.sql.models import Job, Transition
from outsourced.states import Event, State
from tests.sql.conftest import Site, new_job
from tests.sql.crowd import crowd, pull
from tests.sql.interleaving import Aside, holding, until, waiting
from tests.sql.test_crowd import NEAR, number, url_of

ACTOR = "admin:test"
PULLERS, ROUNDS, LOOKS = 2, 4, 10

CLAIMS = select(func.count()).where(Transition.event == Event.CLAIM)
UNBEGUN = select(func.count()).where(Job.state == State.ASSIGNED)


class Prohibition(NamedTuple):
    """An act of a person that ends claims, the one that undoes it, and whether it takes leases back."""

    act: Callable[[SqlBackend], object]
    undo: Callable[[SqlBackend], object]
    takes_back: bool


PROHIBITIONS = {
    "lock": Prohibition(
        lambda backend: workers.lock(backend, "near", actor=ACTOR),
        lambda backend: workers.unlock(backend, "near", actor=ACTOR),
        takes_back=True,
    ),
    "fire": Prohibition(
        lambda backend: workers.fire(backend, "near", "plain", actor=ACTOR),
        lambda backend: workers.hire(backend, "near", "plain", actor=ACTOR),
        takes_back=True,
    ),
    "pause": Prohibition(
        lambda backend: workers.pause(backend, "near", actor=ACTOR),
        lambda backend: workers.resume(backend, "near", actor=ACTOR),
        takes_back=False,
    ),
    "queue pause": Prohibition(
        lambda backend: queues.pause(backend, "plain", actor=ACTOR),
        lambda backend: queues.resume(backend, "plain", actor=ACTOR),
        takes_back=False,
    ),
}

each_prohibition = pytest.mark.parametrize("prohibition", PROHIBITIONS.values(), ids=PROHIBITIONS)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_claim_is_committed_after_it_was_forbidden(backend: SqlBackend) -> None:
    backend.enqueue([new_job() for _ in range(100)])
    with crowd(PULLERS) as (processes, stop):
        pullers = [processes.submit(pull, url_of(backend), NEAR) for _ in range(PULLERS)]
        for _ in range(ROUNDS):
            for name, prohibition in PROHIBITIONS.items():
                claims_before = number(backend, CLAIMS)
                until(lambda before=claims_before: number(backend, CLAIMS) > before + 5)  # type: ignore[misc]

                prohibition.act(backend)

                claims = number(backend, CLAIMS)
                assert {number(backend, CLAIMS) for _ in range(LOOKS)} == {claims}, name
                assert not (prohibition.takes_back and number(backend, UNBEGUN)), name
                prohibition.undo(backend)
        stop.set()
        assert all(puller.result() for puller in pullers)


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@each_prohibition
def test_an_act_waits_for_the_claim_under_way(
    backend: SqlBackend, near: Site, prohibition: Prohibition
) -> None:
    """The claim has read that it may, and waits for a row of its reply that somebody else is writing."""
    backend.enqueue([new_job()])
    claim_id = uuid4()
    reply = "INSERT INTO outsourced_replies (caller, key, at) VALUES ('worker:1', :key, now())"
    with holding(backend.database, reply, {"key": f"claim:{claim_id}"}):
        claim = Aside(lambda: near.claim(claim_id=claim_id))
        until(lambda: len(waiting(backend.database)) == 1)
        act = Aside(lambda: prohibition.act(backend))
        until(lambda: act.is_done or len(waiting(backend.database)) == 2)
        assert not act.is_done
        assert not claim.is_done

    (lease,) = claim.result()
    act.result()
    last = backend.history(lease.job_id)[-1]
    assert last.event is (Event.RESCUE if prohibition.takes_back else Event.CLAIM)
    assert number(backend, UNBEGUN) == int(not prohibition.takes_back)
