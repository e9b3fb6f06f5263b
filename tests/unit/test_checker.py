"""The checker itself: for every invariant a history that breaks it, and one like it that does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from outsourced.states import Event, State
from tests.checker import Act, Call, Start, WorkerRow, assert_clean, check
from tests.unit.histories import WORKERS, Tale, at, records, reported


def enqueued(tale: Tale, status: str = "ok", **more: Any) -> Call:
    return Call(kind="enqueue", status=status, job_id=tale.id, **more)


def done() -> Tale:
    return Tale().claim().begin().complete()


# --- I1, I2, I3: what clients were told


def test_an_acknowledged_job_that_is_gone_breaks_i1() -> None:
    kept = done()
    assert reported(kept, calls=[enqueued(kept)]) == set()
    assert reported(kept, calls=[enqueued(kept), Call(kind="enqueue", status="ok", job_id=uuid4())]) == {"I1"}


def test_a_job_that_never_ends_breaks_i1_once_all_is_quiet() -> None:
    waiting = Tale().claim()
    assert reported(waiting, quiesced=False) == set()
    assert reported(waiting) == {"I1"}


def test_a_job_scheduled_for_later_is_no_loss() -> None:
    later = Tale()
    later.steps = [replace(later.steps[0], to_state=State.SCHEDULED)]
    later.row["runs_at"] = at(7200)
    assert reported(later) == set()
    later.row["runs_at"] = at(1800)
    assert reported(later) == {"I1"}


def test_a_completed_job_that_never_ran_breaks_i1() -> None:
    job, other = done(), done()
    assert reported(job, other, starts=[job.start(), other.start()]) == set()
    assert reported(job, other, starts=[job.start()]) == {"I1"}


def test_a_failure_without_a_reason_breaks_i1() -> None:
    for told, expected in (({"failed": True}, set()), ({}, {"I1"})):
        failed = Tale().claim().begin().fail(State.FAILED, **told)
        failed.row["failures"] = 1
        assert reported(failed) == expected


def test_a_job_nobody_enqueued_breaks_i2() -> None:
    known, unknown, unanswered = done(), done(), done()
    calls = [enqueued(known), enqueued(unanswered, "info")]
    assert reported(known, unanswered, calls=calls) == set()
    assert reported(known, unanswered, unknown, calls=calls) == {"I2"}


def test_a_job_whose_producer_rolled_back_breaks_i2() -> None:
    rolled_back = done()
    assert reported(calls=[enqueued(rolled_back, "fail")]) == set()
    assert reported(rolled_back, calls=[enqueued(rolled_back, "fail")]) == {"I2"}


def test_one_key_for_two_jobs_breaks_i3() -> None:
    first, second = done(), done()
    assert reported(first, calls=[enqueued(first, key="a"), enqueued(first, key="a")]) == set()
    assert reported(first, second, calls=[enqueued(first, key="a"), enqueued(second, key="b")]) == set()
    assert reported(first, second, calls=[enqueued(first, key="a"), enqueued(second, key="a")]) == {"I3"}


def test_an_unanswered_call_and_its_retry_count_as_one_for_i3() -> None:
    first, second, never = done(), done(), Tale()
    unanswered = enqueued(first, "info", key="a")
    assert reported(second, calls=[enqueued(never, "info", key="a"), enqueued(second, key="a")]) == set()
    assert reported(first, second, calls=[unanswered, enqueued(second, key="a")]) == {"I3"}


# --- I4, I5: the history as such


def test_a_step_that_starts_elsewhere_breaks_i4() -> None:
    jumped = done()
    jumped.steps[2] = replace(jumped.steps[2], from_state=State.UNASSIGNED)
    assert reported(done()) == set()
    assert "I4" in reported(jumped)


def test_an_edge_that_is_not_in_the_table_breaks_i4() -> None:
    undone = done().then(Event.PROMOTE, State.UNASSIGNED).then(Event.CANCEL, State.CANCELLED)
    assert reported(undone) == {"I4"}


def test_an_end_undone_by_a_person_is_fine_and_by_anybody_else_breaks_i4() -> None:
    for actor, expected in (("admin:me", set()), ("janitor", {"I4"}), ("worker:near", {"I4"})):
        again = done().then(Event.RETRY, State.UNASSIGNED, actor=actor).claim().complete()
        assert reported(again) == expected


def test_a_missing_or_doubled_number_breaks_i5() -> None:
    for seqs in ([1, 2, 3, 5], [1, 2, 3, 3]):
        job = done()
        job.steps = [replace(step, seq=seq) for step, seq in zip(job.steps, seqs, strict=True)]
        assert reported(job) == {"I5"}


@pytest.mark.parametrize(
    "row", [{"state": State.CANCELLED}, {"version": 5}, {"attempt": 7}], ids=lambda row: next(iter(row))
)
def test_a_row_that_says_otherwise_breaks_i5(row: dict[str, Any]) -> None:
    job = done()
    job.row = row
    assert reported(job) == {"I5"}


def test_a_history_without_a_job_breaks_i5() -> None:
    found = check(replace(records(done()), jobs=()))
    assert [violation.invariant for violation in found] == ["I5"]


# --- I6, I7: leases


def test_a_claim_while_another_lease_is_open_breaks_i6() -> None:
    stolen = Tale().claim("near").claim("far", from_state=State.UNASSIGNED).complete()
    assert "I6" in reported(stolen)


def test_a_lease_given_out_twice_breaks_i6() -> None:
    lease_id = uuid4()
    first, second = Tale().claim(lease_id=lease_id).complete(), Tale().claim(lease_id=lease_id).complete()
    assert reported(first) == set()
    assert reported(first, second) == {"I6"}


def test_a_rescued_lease_that_comes_home_is_fine() -> None:
    home = Tale().claim().begin().rescue(State.RETRYING)
    home.then(Event.RECLAIM, State.WORKING, actor="worker:near").complete()
    assert reported(home) == set()


def test_a_reclaim_by_another_worker_breaks_i6() -> None:
    stolen = Tale().claim("near").rescue(State.UNASSIGNED)
    stolen.then(Event.RECLAIM, State.ASSIGNED, actor="worker:far").complete()
    assert "I6" in reported(stolen)


def test_a_reclaim_of_a_released_lease_breaks_i6() -> None:
    back = Tale().claim().then(Event.RELEASE, State.UNASSIGNED)
    back.then(Event.RECLAIM, State.ASSIGNED).complete()
    assert reported(back) == {"I6"}


def lapsed(claimed_at: float, taken_at: float) -> Tale:
    tale = Tale(begins_at=claimed_at - 1).claim()
    tale.rescue(State.UNASSIGNED, reason="lapsed", at=at(taken_at)).then(Event.CANCEL, State.CANCELLED)
    return tale


def test_a_lease_taken_before_it_has_lapsed_breaks_i6() -> None:
    ttl = timedelta(seconds=60)
    assert reported(lapsed(10, 71), lease_ttl=ttl) == set()
    assert reported(lapsed(10, 69), lease_ttl=ttl) == {"I6"}
    assert reported(lapsed(10, 69)) == set()


def test_the_moment_between_a_lease_and_its_row_of_history_is_allowed_for() -> None:
    ttl = timedelta(seconds=60)
    assert reported(lapsed(10, 69.9), lease_ttl=ttl) == set()
    assert reported(lapsed(10, 69.5), lease_ttl=ttl) == {"I6"}


def test_a_renewed_lease_taken_before_it_has_lapsed_breaks_i6() -> None:
    job = lapsed(10, 100)
    renewed = Call(kind="renew", status="ok", job_id=job.id, lease_id=job.last.lease_id, at=(at(50), at(51)))
    ttl = timedelta(seconds=60)
    assert reported(job, calls=[replace(renewed, at=(at(30), at(31)))], lease_ttl=ttl) == set()
    assert reported(job, calls=[replace(renewed, status="info")], lease_ttl=ttl) == set()
    assert reported(job, calls=[renewed], lease_ttl=ttl) == {"I6"}


def test_an_attempt_that_grows_without_a_begin_breaks_i6() -> None:
    assert reported(Tale().claim(attempt=1).begin().complete()) == {"I6"}
    assert reported(Tale().claim().begin(attempt=0).complete()) == {"I6"}


def test_a_row_under_another_lease_breaks_i6() -> None:
    job = Tale().claim()
    assert reported(job, quiesced=False) == set()
    job.row["lease_id"] = uuid4()
    assert reported(job, quiesced=False) == {"I6"}


def test_an_outcome_under_another_lease_breaks_i7() -> None:
    assert reported(Tale().claim().begin().complete(lease_id=uuid4())) == {"I7"}


def test_an_outcome_by_another_worker_breaks_i7() -> None:
    assert reported(Tale().claim("near").begin().complete(actor="worker:far")) == {"I7"}


def test_a_second_outcome_breaks_i7() -> None:
    assert "I7" in reported(done().complete())


def test_an_accepted_outcome_that_ended_nothing_breaks_i7() -> None:
    job = done()
    settled = Call(kind="settle", status="ok", job_id=job.id, lease_id=job.last.lease_id)
    assert reported(job, calls=[settled]) == set()
    refused = replace(settled, status="fail", lease_id=uuid4())
    assert reported(job, calls=[settled, refused]) == set()
    assert reported(job, calls=[settled, replace(refused, status="ok")]) == {"I7"}


def test_an_end_of_which_nothing_was_reported_breaks_i7() -> None:
    job = done()
    late = Call(kind="settle", status="fail", job_id=job.id, lease_id=uuid4())
    unanswered = Call(kind="settle", status="info", job_id=job.id, lease_id=job.last.lease_id)
    assert reported(job, calls=[late, unanswered]) == set()
    assert reported(job, calls=[late]) == {"I7"}


# --- I8: who may


def act(kind: str, second: float, subject: str = "near", **details: str) -> Act:
    return Act(at=at(second), act=kind, subject=subject, details=details)


FORBIDDING = {
    "lock": (act("worker.lock", 0.5), act("worker.unlock", 1.5)),
    "pause": (act("worker.pause", 0.5), act("worker.resume", 1.5)),
    "fire": (act("worker.fire", 0.5, queue="plain"), act("worker.hire", 1.5, queue="plain")),
    "queue pause": (act("queue.pause", 0.5, "plain"), act("queue.resume", 1.5, "plain")),
}


@pytest.mark.parametrize("acts", FORBIDDING.values(), ids=FORBIDDING)
def test_a_claim_between_two_acts_that_forbid_it_breaks_i8(acts: tuple[Act, Act]) -> None:
    assert reported(done(), acts=acts) == {"I8"}
    later = tuple(replace(one, at=one.at.replace(minute=30)) for one in acts)
    assert reported(done(), acts=later) == set()


def test_a_claim_before_the_first_hire_breaks_i8() -> None:
    assert reported(done(), acts=(act("worker.hire", 2, queue="plain"),)) == {"I8"}
    assert reported(done(), acts=(act("worker.hire", 0.5, queue="plain"),)) == set()


def test_a_claim_at_the_very_moment_of_an_act_is_given_the_doubt() -> None:
    assert reported(done(), acts=(act("worker.lock", 1), act("worker.unlock", 1.5))) == set()


def test_a_claim_by_one_never_hired_breaks_i8() -> None:
    unhired = (WorkerRow(name="near", state="active", paused=False), WORKERS[1])
    assert reported(done(), workers=unhired) == {"I8"}


def test_an_outcome_of_a_locked_worker_breaks_i8() -> None:
    assert reported(done(), acts=(act("worker.lock", 2.5), act("worker.unlock", 3.5))) == {"I8"}


def test_a_lease_open_across_a_lock_out_breaks_i8() -> None:
    """Its claim did not wait for the worker's lock: older by its time, and committed later."""
    lock_out = (act("worker.lock", 1.5), act("worker.unlock", 1.6))
    taken = Tale().claim().rescue(State.UNASSIGNED, actor="admin:me", at=at(1.4)).claim().complete()
    assert reported(taken, acts=lock_out) == set()
    assert reported(done(), acts=lock_out) == {"I8"}
    assert reported(Tale().claim(), acts=lock_out, quiesced=False) == {"I8"}


@pytest.mark.parametrize(("jobs", "expected"), [("finish", set()), ("release", {"I8"})])
def test_a_begun_lease_open_across_a_firing_breaks_i8_where_it_takes_those(
    jobs: str, expected: set[str]
) -> None:
    fired = act("worker.fire", 2.5, queue="plain", jobs=jobs)
    assert reported(done(), acts=(fired,)) == expected
    assert reported(done(), acts=(replace(fired, details=fired.details | {"queue": "small"}),)) == set()


def test_an_unbegun_lease_open_across_a_firing_breaks_i8() -> None:
    fired = act("worker.fire", 1.5, queue="plain", jobs="finish")
    assert reported(Tale().claim().complete(), acts=(fired,)) == {"I8"}


# --- I10: budgets


def test_an_uncounted_loss_breaks_i10() -> None:
    lost = Tale().claim().begin().rescue(State.RETRYING).then(Event.PROMOTE, State.UNASSIGNED)
    lost.claim().begin().complete()
    assert reported(lost) == {"I10"}
    lost.row["losses"] = 1
    assert reported(lost) == set()


def test_an_uncounted_failure_breaks_i10() -> None:
    failed = Tale().claim().begin().fail(State.FAILED, failed=True)
    assert reported(failed) == {"I10"}
    failed.row["failures"] = 1
    assert reported(failed) == set()


@pytest.mark.parametrize(("budget", "expected"), [(1, set()), (0, {"I10"})])
def test_a_retry_beyond_the_budget_breaks_i10(budget: int, expected: set[str]) -> None:
    failed = Tale().claim().begin().fail(State.RETRYING).then(Event.CANCEL, State.CANCELLED)
    failed.row = {"failures": 1, "max_retries": budget}
    assert reported(failed) == expected


@pytest.mark.parametrize(("budget", "expected"), [(1, set()), (0, {"I10"})])
def test_another_try_beyond_the_losses_breaks_i10(budget: int, expected: set[str]) -> None:
    lost = Tale().claim().begin().rescue(State.RETRYING).then(Event.CANCEL, State.CANCELLED)
    lost.row = {"losses": 1, "max_losses": budget}
    assert reported(lost) == expected


def test_a_persons_retry_brings_new_budgets() -> None:
    again = Tale().claim().begin().fail(State.FAILED, failed=True)
    again.then(Event.RETRY, State.UNASSIGNED, actor="admin:me").claim().complete()
    assert reported(again) == set()


def test_a_lease_that_ran_twice_breaks_i10() -> None:
    job = done()
    run = job.start(job.last.lease_id)
    assert reported(job, starts=[run]) == set()
    assert reported(job, starts=[run, run]) == {"I10"}


def test_more_runs_than_attempts_break_i10() -> None:
    job = Tale().claim().rescue(State.UNASSIGNED).claim().begin().complete()
    assert reported(job, starts=[Start(job_id=job.id)] * 2) == set()  # the first begin was never heard of
    assert reported(job, starts=[Start(job_id=job.id)] * 3) == {"I10"}


# --- I11: bounded queues


def test_a_job_above_the_capacity_breaks_i11() -> None:
    first, second = Tale(2).claim().complete(), Tale(2, begins_at=1.5).claim().complete()
    assert reported(first, second) == {"I11"}
    after = Tale(2, begins_at=10).claim().complete()
    assert reported(first, after) == set()


def test_a_retry_into_a_full_queue_breaks_i11() -> None:
    again = Tale(2).claim().complete().then(Event.RETRY, State.UNASSIGNED, actor="admin:me")
    again.claim().complete()
    assert reported(again) == set()
    assert reported(again, Tale(2, begins_at=2.5).claim().complete()) == {"I11"}


def test_a_changed_capacity_counts_from_then_on_for_i11() -> None:
    first, second = Tale(2).claim().complete(), Tale(2, begins_at=1.5).claim().complete()

    def capacity(second: float, places: int) -> Act:
        return Act(at=at(second), act="queue.change", subject="small", details={"capacity": places})

    assert reported(first, second, acts=(capacity(-1, 1), capacity(1, 2))) == set()
    assert reported(first, second, acts=(capacity(-1, 1), capacity(1.7, 2))) == {"I11"}
    assert reported(first, second, acts=(capacity(-1, 0), capacity(1.7, 1))) == set()


def test_a_job_that_joined_a_transaction_enters_with_the_commit_for_i11() -> None:
    first, second = Tale(2).claim().complete(), Tale(2, begins_at=1.5).claim(at=at(9)).complete(at=at(10))
    told = enqueued(second, at=(at(1), at(5)))
    assert reported(first, second, calls=[enqueued(first), told]) == {"I11"}
    assert reported(first, second, calls=[enqueued(first), replace(told, joined=True)]) == set()
    hasty = replace(told, joined=True, at=(at(1), at(1.7)))
    assert reported(first, second, calls=[enqueued(first), hasty]) == {"I11"}


def test_a_refusal_by_a_queue_with_room_breaks_i11() -> None:
    only = Tale(2).claim().complete()

    def refusal(since: float, until: float) -> Call:
        return Call(
            kind="enqueue", status="fail", code="queue_full", queue="small", at=(at(since), at(until))
        )

    assert reported(only, calls=[refusal(1, 1.5)]) == set()
    assert reported(only, calls=[refusal(4, 5)]) == set()  # the end may not have been committed yet
    assert reported(only, calls=[refusal(60, 61)]) == {"I11"}
    assert reported(only, calls=[refusal(-60, -30)]) == {"I11"}


def test_ends_that_were_not_committed_yet_excuse_a_refusal() -> None:
    # by their times the queue never held more than one job, and yet three were seen at once
    jobs = [Tale(2, begins_at=one).claim(at=at(one + 0.2)).complete(at=at(one + 0.5)) for one in range(3)]
    settled = [
        Call(
            kind="settle",
            status="ok",
            job_id=job.id,
            lease_id=job.last.lease_id,
            at=(at(one + 0.3), at(4)),
        )
        for one, job in enumerate(jobs)
    ]
    refusal = Call(kind="enqueue", status="fail", code="queue_full", queue="small", at=(at(3), at(3.5)))
    three = Act(at=at(-1), act="queue.change", subject="small", details={"capacity": 3})
    assert reported(*jobs, calls=[*settled, refusal], acts=(three,)) == set()
    late = replace(refusal, at=(at(4.5), at(5)))  # all had been answered
    assert reported(*jobs, calls=[*settled, late], acts=(three,)) == {"I11"}
    hasty = [*settled[:2], replace(settled[2], at=(at(2.3), at(2.6)))]
    assert reported(*jobs, calls=[*hasty, refusal], acts=(three,)) == {"I11"}


def test_a_refusal_beside_a_job_that_joined_is_fine_from_the_call_on() -> None:
    first, second = Tale(2).claim().complete(), Tale(2, begins_at=20).claim(at=at(29)).complete(at=at(30))
    joined = replace(enqueued(second, at=(at(20), at(28))), joined=True)
    refusal = Call(kind="enqueue", status="fail", code="queue_full", queue="small", at=(at(21), at(22)))
    told = [enqueued(first), joined]
    assert reported(first, second, calls=[*told, refusal]) == set()
    assert reported(first, second, calls=[*told, replace(refusal, at=(at(16), at(17)))]) == {"I11"}


def test_a_refusal_of_more_than_there_was_room_for_is_fine() -> None:
    bulk = Call(kind="enqueue", status="fail", code="queue_full", queue="small", at=(at(60), at(61)), asked=2)
    assert reported(Tale(2).claim().complete(), calls=[bulk]) == set()


# --- I19: repeats


def repeating(tale: Tale, repeat: Tale | None = None, **after: float) -> set[str]:
    tale.row |= after
    if repeat is not None:
        repeat.row["repeat_of"] = tale.id
    return reported(tale, *([repeat] if repeat else [])) & {"I19"}


def test_an_end_without_its_repeat_breaks_i19() -> None:
    assert repeating(done(), repeats_after_complete=60.0) == {"I19"}
    assert repeating(done(), Tale(begins_at=3), repeats_after_complete=60.0) == set()
    assert repeating(done(), repeats_after_fail=60.0) == set()
    assert repeating(Tale().then(Event.EXPIRE, State.EXPIRED), repeats_after_fail=60.0) == {"I19"}
    assert repeating(Tale().then(Event.CANCEL, State.CANCELLED), repeats_after_fail=60.0) == set()


def test_a_repeat_of_a_job_that_did_not_end_so_breaks_i19() -> None:
    assert repeating(done(), Tale(begins_at=3), repeats_after_fail=60.0) == {"I19"}
    assert repeating(done(), Tale(begins_at=60), repeats_after_complete=60.0) == {"I19"}
    assert repeating(Tale(), Tale(begins_at=3), repeats_after_complete=60.0) == {"I19"}


# --- I15: cancel


def test_a_claim_after_the_cancel_breaks_i15() -> None:
    job = Tale(begins_at=0).claim().complete()
    assert (
        reported(job, calls=[Call(kind="cancel", status="ok", job_id=job.id, at=(at(1), at(1.5)))]) == set()
    )
    assert reported(job, calls=[Call(kind="cancel", status="ok", job_id=job.id, at=(at(0), at(0.5)))]) == {
        "I15"
    }


def test_a_claim_after_cancel_and_a_persons_retry_is_fine() -> None:
    job = Tale().then(Event.CANCEL, State.CANCELLED).then(Event.RETRY, State.UNASSIGNED, actor="admin:me")
    job.claim().complete()
    assert (
        reported(job, calls=[Call(kind="cancel", status="ok", job_id=job.id, at=(at(1), at(1.5)))]) == set()
    )


def test_a_retry_after_the_request_to_stop_breaks_i15() -> None:
    for to_state, expected in ((State.CANCELLED, set()), (State.RETRYING, {"I15"})):
        job = Tale().claim().begin().fail(to_state)
        if to_state is State.RETRYING:
            job.then(Event.CANCEL, State.CANCELLED)
        job.row = {"failures": 1, "cancel_requested_at": at(2.5)}
        assert reported(job) == expected


def test_a_cancelled_job_that_lives_on_breaks_i15() -> None:
    job = Tale().claim().begin()
    job.row["cancel_requested_at"] = at(2.5)
    assert reported(job, quiesced=False) == set()
    assert "I15" in reported(job)


# --- I17: replays of claims


def test_a_claim_asked_for_again_with_other_leases_breaks_i17() -> None:
    first, second = done(), done()

    def answer(tale: Tale, second: float) -> Call:
        asked = {"key": "claim", "at": (at(second), at(second + 1))}
        return Call(kind="claim", status="ok", job_id=tale.id, lease_id=tale.last.lease_id, **asked)

    both = [answer(first, 1), answer(second, 1)]
    assert reported(first, second, calls=[*both, answer(second, 3)]) == set()  # the other one has ended
    assert reported(first, second, calls=[answer(first, 1), answer(second, 3)]) == {"I17"}


# --- the report


def test_assert_clean_gives_the_four_numbers() -> None:
    known, unanswered = done(), done()
    calls = [enqueued(known), enqueued(unanswered, "info")]
    found = assert_clean(records(known, unanswered), calls=calls)
    assert str(found) == "2 jobs: 0 lost, 0 unexpected, 0 duplicated, 1 recovered"


def test_assert_clean_lists_what_it_found() -> None:
    lost = Call(kind="enqueue", status="ok", job_id=uuid4())
    with pytest.raises(
        AssertionError, match=rf"1 violations among 0 jobs: 1 lost(.|\n)*I1: job {lost.job_id}"
    ):
        assert_clean(records(), calls=[lost])
