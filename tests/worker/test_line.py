"""What a worker makes of each refusal: which it waits out, and for how long."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace
from uuid import uuid4

import pytest

from outsourced.errors import (
    BY_CODE,
    BackendUnavailable,
    OutsourcedError,
    QueueBusy,
    SchemaOutdated,
    TooManyRequests,
    WorkerLocked,
)
from outsourced.records import ExchangeReply, ExchangeRequest, Instance
from outsourced_worker.line import FIRST_BACKOFF, LONGEST_AWAY, Line, away_after
from tests.worker.fakeserver import FakeServer

REQUEST = ExchangeRequest(instance=Instance(id=uuid4(), host="here", pid=1, version="1"))

#: what ends the worker …
ENDS = {"invalid_token", "worker_too_old"}
#: … what it mends, by sending each outcome on its own, and failing the one at fault …
MENDS = {"invalid_request", "malformed_json", "unsupported_media_type", "payload", "too_large"}
#: … and what it waits out: somebody may set the server up, unlock the worker, or repair the way there
WAITS_OUT = {
    "already_exists", "backend", "chord", "configuration", "digest_mismatch", "error", "forbidden",
    "idempotency_key_reused", "invalid_transition", "job_failed", "job_revoked", "key_taken", "lease_lost",
    "max_retries_exceeded", "missing_extra", "not_found", "not_hired", "not_registered", "owner_full",
    "queue_busy", "queue_forbidden", "queue_full", "result_pruned", "schema_outdated", "storage_mismatch",
    "task_already_registered", "timeout", "too_many_requests", "unavailable", "unknown_queue",
    "worker_locked",
}  # fmt: skip


class Refusing(FakeServer):
    """Refuses a request with each of these errors in turn, then answers."""

    def __init__(self, *errors: OutsourcedError) -> None:
        super().__init__()
        self._errors = deque(errors)

    def exchange(self, request: ExchangeRequest) -> ExchangeReply:
        if self._errors:
            raise self._errors.popleft()
        return super().exchange(request)


def line_to(*errors: OutsourcedError) -> Line:
    return Line(Refusing(*errors), on_locked=lambda error: None)


def test_every_code_has_its_reaction() -> None:
    assert set(BY_CODE) == ENDS | MENDS | WAITS_OUT
    assert len(ENDS) + len(MENDS) + len(WAITS_OUT) == len(BY_CODE)


@pytest.mark.parametrize("code", sorted(WAITS_OUT))
def test_call_waits_out_what_may_pass(code: str) -> None:
    assert line_to(BY_CODE[code]()).call(REQUEST, give_up=lambda: True) is None


@pytest.mark.parametrize("code", sorted(ENDS | MENDS))
def test_call_raises_what_no_repetition_cures(code: str) -> None:
    with pytest.raises(BY_CODE[code]):
        line_to(BY_CODE[code]()).call(REQUEST, give_up=lambda: True)


def test_call_asks_again_until_there_is_an_answer() -> None:
    line = line_to(BackendUnavailable(), SchemaOutdated(), WorkerLocked())
    assert line.call(REQUEST, give_up=lambda: False) is not None


def test_call_counts_the_time_left_from_its_first_sending() -> None:
    server = Refusing(BackendUnavailable(retry_after=0.3))
    server.enqueue("noop", expires_in=10.0)
    server.enqueue("noop")
    claim = replace(REQUEST, claim_id=uuid4(), slots=2, tasks=("noop",))
    reply = Line(server, on_locked=lambda error: None).call(claim, give_up=lambda: False)
    assert reply is not None
    bounded, endless = reply.leases
    assert bounded.expires_in is not None
    assert 10.3 <= bounded.expires_in < 20
    assert endless.expires_in is None


def test_call_logs_trouble_when_it_begins_changes_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    gone, unready = BackendUnavailable("nobody is there"), SchemaOutdated("run `flask outsourcer init`")
    with caplog.at_level(logging.WARNING):
        line_to(gone, gone, unready, unready).call(REQUEST, give_up=lambda: False)
    assert caplog.messages == [
        "nobody is there; trying again, with growing pauses",
        "the server cannot answer now: run `flask outsourcer init`; trying again, with growing pauses",
        "the server answers again",
    ]


def test_server_decides_how_long_to_stay_away() -> None:
    error = TooManyRequests(retry_after=40)
    assert 40 <= away_after(error, 0) <= 40 + FIRST_BACKOFF
    assert LONGEST_AWAY <= away_after(QueueBusy(retry_after=1e9), 0) <= LONGEST_AWAY + FIRST_BACKOFF


@pytest.mark.parametrize("nonsense", [None, "soon", -5, float("nan"), [1]])
def test_nonsense_about_how_long_to_stay_away_is_ignored(nonsense: object) -> None:
    assert 0 <= away_after(BackendUnavailable(retry_after=nonsense), 0) <= FIRST_BACKOFF
