"""Time limits in slot processes, and the signals that a worker sends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from outsourced import signals
from outsourced.payload import decode
from outsourced.records import Outcome, OutcomeKind
from tests.worker.conftest import make_worker
from tests.worker.fakeserver import FakeJob, FakeServer


def outcome_of(job: FakeJob) -> Outcome:
    assert job.outcome is not None
    return job.outcome


def test_a_task_past_its_time_limit_is_stopped_with_its_process(server: FakeServer) -> None:
    (victim,) = server.enqueue("spin")
    server.enqueue("noop", 1, count=20)
    make_worker(server, "processes", burst=True).work()
    outcome = outcome_of(victim)
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert outcome.error.type == "outsourced.exceptions.TimeLimitExceeded"
    assert server.kinds().count("completed") == 20


def test_a_task_may_tidy_up_at_its_soft_limit(server: FakeServer, tmp_path: Path) -> None:
    marker = tmp_path / "tidied"
    (job,) = server.enqueue("tidy", str(marker))
    make_worker(server, "processes", burst=True).work()
    assert decode(outcome_of(job).result or "") == "tidied"
    assert marker.exists()


def test_a_task_that_does_not_heed_its_soft_limit_fails_of_it(server: FakeServer) -> None:
    (job,) = server.enqueue("overrun")
    server.enqueue("noop", 1, count=20)
    make_worker(server, "processes", burst=True).work()
    outcome = outcome_of(job)
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert outcome.error.type == "outsourced.exceptions.SoftTimeLimitExceeded"
    assert server.kinds().count("completed") == 20


def test_slot_processes_send_their_signals(server: FakeServer) -> None:
    (job,) = server.enqueue("seen")
    make_worker(server, "processes", burst=True).work()
    assert decode(outcome_of(job).result or "") == ["worker_process_init", "task_prerun"]


def test_a_worker_sends_its_signals_in_order(server: FakeServer) -> None:
    heard: list[str] = []

    def note(signal: signals.Signal, **_: Any) -> None:
        heard.append(signal.name)

    ours = (signals.worker_init, signals.worker_ready, signals.task_received, signals.worker_shutdown)
    for signal in ours:
        signal.connect(note)
    server.enqueue("noop", 1)
    make_worker(server, "solo", burst=True).work()
    for signal in ours:
        signal.disconnect(note)
    assert sorted(heard) == ["task_received", "worker_init", "worker_ready", "worker_shutdown"]
    assert (heard[0], heard[-1]) == ("worker_init", "worker_shutdown")


def test_expired_jobs_are_told_as_revoked(server: FakeServer) -> None:
    told: list[dict[str, Any]] = []

    @signals.task_revoked.connect
    def note(**facts: Any) -> None:
        told.append(facts)

    (job,) = server.enqueue("noop", 1, expires_in=-1.0)
    make_worker(server, "solo", burst=True).work()
    (facts,) = told
    assert (facts["expired"], facts["terminated"]) == (True, False)
    assert facts["request"].id == str(job.id)
    assert facts["sender"].name == "noop"
