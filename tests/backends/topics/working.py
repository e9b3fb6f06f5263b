"""What a task at work has besides its arguments: files, and jobs of its own, all under its lease."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from outsourced.errors import LeaseLost, NotFound, QueueFull
from outsourced.records import NewFile, OutcomeKind, Owner
from outsourced.states import State
from tests.backends.stage import Site, Stage, begun, enqueue, job_of, leased, new_job

K = OutcomeKind
CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A file that a task has made."""
    path = tmp_path / "made.bin"
    path.write_bytes(CONTENT)
    return path


def with_attachment() -> NewFile:
    return NewFile(open=lambda: io.BytesIO(CONTENT), filename="in.bin", content_type="text/plain")


def test_attachment_goes_along_with_its_job(stage: Stage, near: Site, tmp_path: Path) -> None:
    lease = leased(stage, near, attachment=with_attachment())
    assert lease.attachment is not None
    assert (lease.attachment.name, lease.attachment.size) == ("in.bin", len(CONTENT))
    assert lease.attachment.content_type == "text/plain"
    near.consumer.fetch_attachment(lease, tmp_path / "in")
    assert (tmp_path / "in").read_bytes() == CONTENT


def test_job_without_an_attachment_has_none_to_fetch(stage: Stage, near: Site, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        near.consumer.fetch_attachment(leased(stage, near), tmp_path / "in")


def test_attachment_is_for_the_holder_of_the_lease(
    stage: Stage, near: Site, far: Site, tmp_path: Path
) -> None:
    lease = leased(stage, near, attachment=with_attachment())
    with pytest.raises(NotFound):
        far.consumer.fetch_attachment(lease, tmp_path / "in")
    near.settle(lease, K.COMPLETED)
    with pytest.raises(LeaseLost):
        near.consumer.fetch_attachment(lease, tmp_path / "in")


def test_saved_file_is_read_by_its_name(stage: Stage, near: Site, made: Path) -> None:
    lease = begun(stage, near)
    stored = near.consumer.save_file(lease, "out.bin", made, "application/pdf")
    assert (stored.name, stored.size, stored.content_type) == ("out.bin", len(CONTENT), "application/pdf")
    near.settle(lease, K.COMPLETED)
    assert job_of(stage, lease.job_id).files == (stored,)
    with stage.producer.open_file(lease.job_id, "out.bin") as stream:
        assert stream.read() == CONTENT


def test_saved_file_takes_the_place_of_an_older_one_of_its_name(stage: Stage, near: Site, made: Path) -> None:
    lease = begun(stage, near)
    near.consumer.save_file(lease, "out", made, "text/plain")
    made.write_bytes(b"better")
    near.consumer.save_file(lease, "out", made, "text/plain")
    assert [file.size for file in job_of(stage, lease.job_id).files] == [6]
    with stage.producer.open_file(lease.job_id, "out") as stream:
        assert stream.read() == b"better"


def test_files_are_listed_by_name(stage: Stage, near: Site, made: Path) -> None:
    lease = begun(stage, near)
    for name in ("b", "a"):
        near.consumer.save_file(lease, name, made, "text/plain")
    assert [file.name for file in job_of(stage, lease.job_id).files] == ["a", "b"]


def test_file_that_nobody_saved_is_not_there(stage: Stage) -> None:
    (job_id,) = enqueue(stage)
    with pytest.raises(NotFound), stage.producer.open_file(job_id, "out"):
        pass


def test_file_is_saved_by_the_holder_of_the_lease_only(
    stage: Stage, near: Site, far: Site, made: Path
) -> None:
    lease = begun(stage, near)
    with pytest.raises(NotFound):
        far.consumer.save_file(lease, "out", made, "text/plain")
    near.settle(lease, K.COMPLETED)
    with pytest.raises(LeaseLost):
        near.consumer.save_file(lease, "out", made, "text/plain")
    assert job_of(stage, lease.job_id).files == ()


def test_child_has_its_parent_s_owner_and_name(stage: Stage, near: Site) -> None:
    owner, other = Owner(type="Order", id="7"), Owner(type="Order", id="8")
    lease = begun(stage, near, owner=owner)
    producer, child, stranger = near.consumer.producer(lease), new_job(), new_job(owner=other)
    producer.enqueue([child, stranger])
    assert [job.owner for job in map(producer.job, (child.id, stranger.id)) if job] == [owner, other]
    assert producer.history(child.id)[0].actor == f"task:{lease.job_id}"


def test_child_is_a_job_as_any_other(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    producer, child = near.consumer.producer(lease), new_job(queue="small")
    producer.enqueue([child])
    (claimed,) = far.claim()
    assert claimed.job_id == child.id
    far.settle(claimed, K.COMPLETED, result="3")
    ended = producer.wait(child.id, 5)
    assert ended is not None
    assert (ended.state, ended.result) == (State.COMPLETED, "3")
    assert producer.job(child.id) == ended
    assert [row.event for row in producer.history(child.id)] == ["enqueue", "claim", "complete"]


def test_child_is_cancelled_by_its_parent(stage: Stage, near: Site) -> None:
    producer, child = near.consumer.producer(begun(stage, near)), new_job()
    producer.enqueue([child])
    cancelled = producer.cancel(child.id)
    assert cancelled is not None
    assert cancelled.state is State.CANCELLED
    assert producer.job(child.id) == cancelled


def test_children_of_one_call_are_all_or_nothing(stage: Stage, near: Site) -> None:
    producer = near.consumer.producer(begun(stage, near))
    children = [new_job(), *(new_job(queue="small") for _ in range(4))]
    with pytest.raises(QueueFull):
        producer.enqueue(children)
    assert producer.job(children[0].id) is None


def test_no_children_under_a_lease_that_has_ended(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    with pytest.raises(NotFound):
        far.consumer.producer(lease).enqueue([new_job()])
    near.settle(lease, K.COMPLETED)
    with pytest.raises(LeaseLost):
        near.consumer.producer(lease).enqueue([new_job()])
