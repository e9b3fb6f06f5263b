"""Keeping: what is below a job, results that are forgotten before their time, groups that are saved."""

from __future__ import annotations

from uuid import uuid4

import pytest

from outsourced.errors import ResultPruned
from outsourced.failures import error_of
from outsourced.records import EdgeKind, OutcomeKind
from outsourced.states import State
from tests.backends.stage import FAILURE, Site, Stage, begun, enqueue, job_of, leased, new_job
from tests.backends.topics.following import after, end

K = OutcomeKind


def test_children_are_what_comes_after_a_job(stage: Stage, near: Site) -> None:
    first = new_job()
    second, third = after(first), after(first)
    errback, last = after(first, kind=EdgeKind.ERROR), after(second)
    stage.producer.enqueue([first, second, third, errback, last])
    assert list(stage.producer.children(first.id)) == [second.id, third.id]
    assert list(stage.producer.children(second.id)) == [last.id]
    end(near, first)
    assert list(stage.producer.children(first.id)) == [second.id, third.id]


def test_children_of_a_header_are_the_body(stage: Stage) -> None:
    header = [new_job(), new_job()]
    body = after(*header, kind=EdgeKind.CHORD)
    stage.producer.enqueue([*header, body])
    assert [list(stage.producer.children(job.id)) for job in header] == [[body.id], [body.id]]


def test_children_of_an_unknown_job_are_none(stage: Stage) -> None:
    assert list(stage.producer.children(uuid4())) == []


def test_children_of_a_child_are_what_comes_after_it(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    producer = near.consumer.producer(lease)
    child = new_job()
    grandchild = after(child)
    producer.enqueue([child, grandchild])
    assert list(producer.children(child.id)) == [grandchild.id]


@pytest.mark.parametrize("kind", [K.COMPLETED, K.FAILED])
def test_forget_prunes_how_the_job_ended(stage: Stage, near: Site, kind: OutcomeKind) -> None:
    lease = begun(stage, near)
    error = FAILURE if kind is K.FAILED else None
    near.settle(lease, kind, error=error, result='"x"' if error is None else None)
    history = stage.producer.history(lease.job_id)
    forgotten = stage.producer.forget(lease.job_id)
    assert forgotten is not None
    assert (forgotten.result, forgotten.result_pruned) == (None, True)
    assert forgotten.state is (State.FAILED if error else State.COMPLETED)
    assert isinstance(error_of(job_of(stage, lease.job_id)), ResultPruned)
    assert stage.producer.history(lease.job_id) == history
    again = stage.producer.forget(lease.job_id)
    assert again == forgotten


def test_forget_of_a_result_that_was_none_is_told_too(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    near.settle(lease, K.COMPLETED)
    stage.producer.forget(lease.job_id)
    assert job_of(stage, lease.job_id).result_pruned


def test_forget_leaves_a_job_that_goes_on(stage: Stage, near: Site) -> None:
    lease = leased(stage, near)
    unforgotten = stage.producer.forget(lease.job_id)
    assert unforgotten is not None
    assert not unforgotten.result_pruned
    near.settle(lease, K.COMPLETED, result="1")
    assert job_of(stage, lease.job_id).result == "1"


def test_forget_of_an_unknown_job_gives_none(stage: Stage) -> None:
    assert stage.producer.forget(uuid4()) is None


def test_forget_leaves_what_another_job_is_to_be_given(stage: Stage, near: Site) -> None:
    header = [new_job(), new_job()]
    body = after(*header, kind=EdgeKind.CHORD)
    stage.producer.enqueue([*header, body])
    end(near, header[0], result="1")
    kept = stage.producer.forget(header[0].id)
    assert kept is not None
    assert kept.result == "1"
    end(near, header[1], result="2")
    assert '"args":[[1,2]' in (job_of(stage, body.id).payload or "")
    forgotten = stage.producer.forget(header[0].id)
    assert forgotten is not None
    assert forgotten.result_pruned


def test_forgotten_job_that_is_tried_again_has_a_result_again(stage: Stage, near: Site) -> None:
    (job_id,) = enqueue(stage)
    for result in ("1", "2"):
        (lease,) = near.claim()
        near.settle(lease, K.COMPLETED, result=result)
        if result == "1":
            stage.producer.forget(job_id)
            stage.retry(job_id)
            assert not job_of(stage, job_id).result_pruned
    assert job_of(stage, job_id).result == "2"


def test_saved_group_is_found_until_it_is_forgotten(stage: Stage) -> None:
    group_id, producer = uuid4(), stage.producer
    assert producer.group(group_id) is None
    producer.save_group(group_id, '[["a",null],[]]')
    producer.save_group(group_id, '[["a",null],[[["b",null],null]]]')
    assert producer.group(group_id) == '[["a",null],[[["b",null],null]]]'
    assert producer.group(uuid4()) is None
    producer.forget_group(group_id)
    producer.forget_group(group_id)
    assert producer.group(group_id) is None


def test_group_that_a_task_saves_is_found_by_its_next_try(stage: Stage, near: Site) -> None:
    group_id, members = uuid4(), '[["a",null],[]]'
    first = begun(stage, near)
    near.consumer.producer(first).save_group(group_id, members)
    near.settle(first, K.RETRY, delay=0.0)
    stage.tick()
    (second,) = near.claim()
    assert near.consumer.producer(second).group(group_id) == members
