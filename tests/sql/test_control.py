"""`app.control` over the server's own tables."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from outsourced import backend as backends
from outsourced.app.control import Control
from outsourced.errors import ConfigurationError, NotFound
from outsourced.records import NewJob
from outsourced.sql import limits
from outsourced.sql.backend import SqlBackend
from outsourced.states import State
from outsourced.testing import MemoryBackend
from tests.sql.conftest import TASK, Site, new_job, state_of


@pytest.fixture
def control(backend: SqlBackend) -> Iterator[Control]:
    with backends.use(backend):
        yield Control()


@pytest.fixture
def jobs(backend: SqlBackend, near: Site) -> dict[str, NewJob]:
    """One of each: working, fetched, waiting, for later."""
    made = {name: new_job() for name in ("working", "fetched", "waiting")}
    later = new_job(runs_in=timedelta(hours=1))
    for job in (*made.values(), later):
        backend.enqueue([job])
    first, _ = near.claim(slots=2)
    near.begin(first)
    return made | {"later": later}


def test_revoke_cancels_what_has_not_begun_and_with_terminate_what_has(
    backend: SqlBackend, control: Control, jobs: dict[str, NewJob]
) -> None:
    control.revoke([str(job.id) for job in jobs.values()])
    assert state_of(backend, jobs["working"].id) is State.WORKING
    for name in ("waiting", "later"):
        assert state_of(backend, jobs[name].id) is State.CANCELLED
    for name, asked in {"fetched": True, "working": False}.items():
        job = backend.job(jobs[name].id)
        assert job is not None
        assert (job.cancel_requested_at is not None) is asked

    control.terminate(jobs["working"].id)
    job = backend.job(jobs["working"].id)
    assert job is not None
    assert job.cancel_requested_at is not None
    control.revoke("an id nobody knows")


def test_rate_limit_is_set_at_the_server(
    backend: SqlBackend, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    backend.enqueue([new_job()])
    (reply,) = control.rate_limit(TASK, "10/m", destination=["near"])
    assert reply == {"server": {"ok": "new rate limit set successfully"}}
    assert "all workers together" in caplog.text
    assert [(info.name, info.limit) for info in limits.listing(backend.database)] == [(TASK, "10/m")]
    control.rate_limit(TASK, 0)
    assert [info.limit for info in limits.listing(backend.database)] == ["unlimited"]
    with pytest.raises(NotFound, match=r"did you mean 'tasks\.add'"):
        control.rate_limit("task.add", "1/s")


def test_consumers_are_hired_and_fired(backend: SqlBackend, control: Control) -> None:
    control.cancel_consumer("small", destination=["near"])
    control.cancel_consumer("plain")
    assert {worker.name: worker.queues for worker in backend.staff()} == {"near": (), "far": ("small",)}
    control.add_consumer("small")
    assert {worker.name: worker.queues for worker in backend.staff()} == dict.fromkeys(
        ("near", "far"), ("small",)
    )


@pytest.mark.parametrize(
    ("verb", "instead"),
    [
        ("time_limit", "@task"),
        ("pool_grow", "-c N"),
        ("pool_shrink", "-c N"),
        ("pool_restart", "TERM"),
        ("autoscale", "-c N"),
        ("shutdown", "worker pause"),
        ("broadcast", "the server decides"),
    ],
)
def test_what_would_call_workers_says_what_to_do_instead(verb: str, instead: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{verb}.*{instead}"):
        getattr(Control(), verb)("x")


def test_inspect_tells_who_does_what(control: Control, jobs: dict[str, NewJob]) -> None:
    inspect = control.inspect()
    (active,), (reserved,) = inspect.active()["near"], inspect.reserved()["near"]
    assert (active["id"], active["name"], active["args"]) == (str(jobs["working"].id), TASK, [1, 2])
    assert reserved["id"] == str(jobs["fetched"].id)
    (scheduled,) = inspect.scheduled()["server"]
    assert scheduled["request"]["id"] == str(jobs["later"].id)
    assert inspect.registered() == {"near": [TASK]}
    assert {queue["name"] for queue in inspect.active_queues()["near"]} == {"plain", "small"}
    assert inspect.stats()["near"]["jobs_in_hand"] == 2
    told = inspect.query_task(str(jobs["working"].id), [jobs["waiting"].id])
    assert told["near"][str(jobs["working"].id)][0] == "started"
    assert told["server"][str(jobs["waiting"].id)][0] == "pending"


def test_ping_is_answered_for_workers_heard_of_lately(control: Control, near: Site, far: Site) -> None:
    near.say()
    assert control.ping() == [{"near": {"ok": "pong"}}]
    far.say()
    assert control.inspect(["far"]).ping() == {"far": {"ok": "pong"}}
    assert control.ping(destination=["nobody"]) == []


def test_purge_cancels_what_no_worker_has_in_hand(
    backend: SqlBackend, control: Control, jobs: dict[str, NewJob]
) -> None:
    assert control.purge() == 2
    assert state_of(backend, jobs["fetched"].id) is State.ASSIGNED


def test_inspect_elsewhere_says_whom_to_ask() -> None:
    with MemoryBackend(), pytest.raises(ConfigurationError, match="server"):
        Control().inspect().active()
