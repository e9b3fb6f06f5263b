"""Adding to a chord: a task has the body that waits for it wait for a job of its own too."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from outsourced import payload
from outsourced.errors import InvalidRequest
from outsourced.records import Edge, EdgeKind, Lease, NewJob, OutcomeKind
from outsourced.states import State
from tests.backends.stage import FAILURE, Site, Stage, begun, job_of, new_job, state_of

K, S = OutcomeKind, State


def chord(*brackets: tuple[int, int], passes: bool = True) -> list[NewJob]:
    """A header whose results have so many brackets around them, and the body."""
    header = [new_job() for _ in brackets]
    edges = tuple(
        Edge(upstream=job.id, kind=EdgeKind.CHORD, passes=passes, opens=opens, closes=closes)
        for job, (opens, closes) in zip(header, brackets, strict=True)
    )
    return [*header, new_job(after=edges)]


def claimed(stage: Stage, site: Site, jobs: list[NewJob]) -> list[Lease]:
    """The jobs enqueued; the leases of those that wait for nothing."""
    stage.producer.enqueue(jobs)
    return list(site.claim())


def add(site: Site, lease: Lease, number: int = 1) -> list[NewJob]:
    added = [new_job(add_to_chord=True) for _ in range(number)]
    site.consumer.producer(lease).enqueue(added)
    return added


def complete(site: Site, results: dict[UUID, str]) -> None:
    for lease in site.claim(50):
        site.settle(lease, K.COMPLETED, result=results[lease.job_id])


def args_of(stage: Stage, job: NewJob) -> list[Any]:
    return payload.decode_call(job_of(stage, job.id).payload)[0]


def test_body_waits_for_what_was_added_and_is_given_its_result(stage: Stage, near: Site) -> None:
    first, second, body = chord((1, 0), (0, 1))
    leases = claimed(stage, near, [first, second, body])
    (added,) = add(near, leases[0])
    for lease in leases:
        near.settle(lease, K.COMPLETED, result=str(leases.index(lease)))
    assert state_of(stage, body.id) is S.WAITING
    complete(near, {added.id: '"added"'})
    assert state_of(stage, body.id) is S.UNASSIGNED
    assert args_of(stage, body) == [[0, 1, "added"], 1, 2]


def test_all_that_are_added_come_last_in_their_order(stage: Stage, near: Site) -> None:
    first, second, body = chord((1, 0), (0, 1))
    leases = claimed(stage, near, [first, second, body])
    added = [*add(near, leases[1], 2), *add(near, leases[0])]
    for lease in leases:
        near.settle(lease, K.COMPLETED, result="0")
    complete(near, {job.id: str(number) for number, job in enumerate(added, start=1)})
    assert args_of(stage, body) == [[0, 0, 1, 2, 3], 1, 2]


def test_list_in_the_list_stays_one(stage: Stage, near: Site) -> None:
    first, second, third, body = chord((1, 0), (1, 0), (0, 2))
    leases = claimed(stage, near, [first, second, third, body])
    (added,) = add(near, leases[1])
    for lease in leases:
        near.settle(lease, K.COMPLETED, result="0")
    complete(near, {added.id: "1"})
    assert args_of(stage, body) == [[0, [0, 0], 1], 1, 2]


def test_body_that_takes_nothing_waits_all_the_same(stage: Stage, near: Site) -> None:
    first, body = chord((1, 1), passes=False)
    (lease,) = claimed(stage, near, [first, body])
    (added,) = add(near, lease)
    near.settle(lease, K.COMPLETED, result="0")
    assert state_of(stage, body.id) is S.WAITING
    complete(near, {added.id: "1"})
    assert (state_of(stage, body.id), args_of(stage, body)) == (S.UNASSIGNED, [1, 2])


def test_body_fails_with_what_was_added(stage: Stage, near: Site) -> None:
    first, body = chord((1, 1))
    (lease,) = claimed(stage, near, [first, body])
    add(near, lease)
    near.settle(lease, K.COMPLETED, result="0")
    (lease,) = near.claim()
    near.settle(lease, K.FAILED, error=FAILURE)
    job = job_of(stage, body.id)
    assert job.state is S.FAILED
    assert job.error is not None
    assert job.error.type.endswith("ChordError")


def test_body_that_has_ended_is_left_alone(stage: Stage, near: Site) -> None:
    first, second, body = chord((1, 0), (0, 1))
    leases = claimed(stage, near, [first, second, body])
    near.settle(leases[1], K.FAILED, error=FAILURE)
    (added,) = add(near, leases[0])
    near.settle(leases[0], K.COMPLETED, result="0")
    complete(near, {added.id: "1"})
    assert state_of(stage, body.id) is S.FAILED


def test_several_bodies_wait_for_it(stage: Stage, near: Site) -> None:
    first, second, body = chord((1, 0), (0, 1))
    other = new_job(after=body.after)
    leases = claimed(stage, near, [first, second, body, other])
    (added,) = add(near, leases[0])
    for lease in leases:
        near.settle(lease, K.COMPLETED, result="0")
    complete(near, {added.id: "1"})
    assert [args_of(stage, one) for one in (body, other)] == [[[0, 0, 1], 1, 2]] * 2


def test_where_no_chord_is_the_job_is_on_its_own(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    (added,) = add(near, lease)
    near.settle(lease, K.COMPLETED, result="0")
    assert [one.job_id for one in near.claim()] == [added.id]


def test_nobody_but_a_task_adds_to_a_chord(stage: Stage) -> None:
    with pytest.raises(InvalidRequest, match="add_to_chord"):
        stage.producer.enqueue([new_job(add_to_chord=True)])
