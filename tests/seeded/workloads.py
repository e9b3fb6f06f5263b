"""Small workloads, each with the one order of events in which a certain bug does harm.

Run as a program, in a process of its own whose `outsourced` may be a copy with a bug seeded:
`python -P -m tests.seeded.workloads NAME URL …` prints what the checker found.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import uuid4

from sqlalchemy import text

import outsourced
from outsourced.records import Edge, EdgeKind, Lease, NewJob, Outcome, OutcomeKind, WorkerIdentity
from outsourced.sql import maintenance, workers
from outsourced.sql.backend import SqlBackend
from outsourced.sql.database import Database
from outsourced.states import State
from tests.checker import Violation, check
from tests.sql.clients import Client
from tests.sql.conftest import FAILURE, TASK, Site, new_job, outcome, pass_time, read, staff
from tests.sql.interleaving import PATIENCE, Aside, holding, traced, until, waiting

ACTOR = "admin:test"

#: while it is held, what would write history waits
_HISTORY = "LOCK TABLE outsourced_history IN EXCLUSIVE MODE"
_REPLIES = """
INSERT INTO outsourced_replies (caller, key, reply, at)
VALUES (:caller, :first, '[]', now()), (:caller, :second, '[]', now())
"""


class Stage(Client):
    """A store with two workers, of which this client is one, and a clock to be moved."""

    def __init__(self, database: Database) -> None:
        staff(database)
        backend = SqlBackend(database)
        super().__init__(backend, Site(backend, WorkerIdentity(id=1, name="near", epoch=0)))
        self.database = database

    def later(self, seconds: float) -> None:
        pass_time(self.backend, seconds)

    def violations(self) -> list[Violation]:
        """What the checker has to say in the end."""
        records, ttl = read(self.database), self.backend.lease_ttl
        return check(records, calls=self.calls, quiesced=False, lease_ttl=ttl)


def a_late_outcome(stage: Stage) -> None:
    """A worker reports of a lease it lost while it works on the same job under its next one."""
    stage.enqueue(new_job())
    (old,) = stage.claim()
    stage.later(61)
    maintenance.rescue(stage.backend)
    stage.claim()
    stage.settle(old, OutcomeKind.COMPLETED, result='"old"')


def a_rescue_between_heartbeats(stage: Stage) -> None:
    """A server looks for lapsed leases while one that was renewed is half way through."""
    stage.enqueue(new_job())
    (lease,) = stage.claim()
    stage.later(45)
    stage.renew(lease)
    stage.later(45)
    maintenance.rescue(stage.backend)


def two_producers_for_one_place(stage: Stage) -> None:
    """Two producers are let through to storing before either has committed, if anything lets them."""
    stage.enqueue(new_job(queue="small"), new_job(queue="small"))
    for _ in range(10):
        jobs = [new_job(queue="small"), new_job(queue="small")]
        statuses = _enqueue_together(stage, jobs)
        if "queue_busy" not in {call.code for call in stage.calls[-2:]}:
            return
        # one waited in vain before the other had come: once more
        for job, status in zip(jobs, statuses, strict=True):
            if status == "ok":
                stage.cancel(job.id)


def _enqueue_together(stage: Stage, jobs: list[NewJob]) -> list[str]:
    with holding(stage.database, _HISTORY):
        producers = [Aside(partial(stage.enqueue, job)) for job in jobs]
        until(lambda: len(waiting(stage.database)) == 2 or any(one.is_done for one in producers))
    return [producer.result() for producer in producers]


def a_producer_that_waited_its_turn(stage: Stage) -> None:
    """A producer has begun when an outcome frees the place it needs; both want to write."""
    stage.enqueue(*(new_job(queue="small") for _ in range(3)))
    (lease,) = stage.claim(slots=1)
    in_transaction, go_on = threading.Event(), threading.Event()
    tries: dict[threading.Thread, int] = {}

    def heard(statement: str) -> None:
        thread, verb = threading.current_thread(), statement.split(maxsplit=1)[0]
        if verb == "BEGIN":
            tries[thread] = tries.get(thread, 0) + 1
            if thread is not producer.thread and tries[thread] > 1:
                go_on.set()  # it was sent away: the producer holds the turn
        elif verb != "PRAGMA" and thread is producer.thread and tries.get(thread):
            in_transaction.set()
            go_on.wait(PATIENCE)

    def settle() -> None:
        stage.settle(lease, OutcomeKind.COMPLETED, result="3")
        go_on.set()

    with traced(stage.database.engine, heard):
        started = threading.Event()
        producer = Aside(lambda: started.wait() and stage.enqueue(new_job(queue="small")))
        started.set()
        assert in_transaction.wait(PATIENCE)
        Aside(settle).result()
        producer.result()


def a_producer_cut_off_at_its_commit(stage: Stage) -> None:
    """A producer's connection is ended before its transaction is."""
    with holding(stage.database, _HISTORY):
        producer = Aside(lambda: stage.enqueue(new_job()))
        until(lambda: producer.is_done or bool(waiting(stage.database)))
        for pid in waiting(stage.database):
            with stage.database.connect() as connection:
                connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        producer.result()


def a_retry_after_cancel(stage: Stage) -> None:
    """A task fails and asks for another try after its job was cancelled."""
    job = new_job()
    stage.enqueue(job)
    (lease,) = stage.claim()
    stage.site.begin(lease)
    stage.cancel(job.id)
    stage.settle(lease, OutcomeKind.RETRY, error=FAILURE, delay=10.0)


def a_whole_life(stage: Stage) -> None:
    """A job is claimed, begun and completed."""
    stage.enqueue(new_job())
    (lease,) = stage.claim()
    stage.site.begin(lease)
    stage.settle(lease, OutcomeKind.COMPLETED, result="3")


def a_worker_gone(stage: Stage) -> None:
    """A worker begins a job and is not heard of again."""
    stage.enqueue(new_job())
    (lease,) = stage.claim()
    stage.site.begin(lease)
    stage.later(61)
    maintenance.rescue(stage.backend)


def a_lock_out_during_a_claim(stage: Stage) -> None:
    """A person locks a worker out while a claim of it has read that it may, and has not committed."""
    stage.enqueue(new_job())
    claim_id = uuid4()
    same_reply = "INSERT INTO outsourced_replies (caller, key, at) VALUES ('worker:1', :key, now())"
    with holding(stage.database, same_reply, {"key": f"claim:{claim_id}"}):
        claim = Aside(lambda: stage.claim(claim_id=claim_id))
        until(lambda: len(waiting(stage.database)) == 1)
        lock_out = Aside(lambda: workers.lock(stage.backend, "near", actor=ACTOR))
        until(lambda: lock_out.is_done or len(waiting(stage.database)) == 2)
    assert claim.result()
    lock_out.result()


def a_claim_after_firing(stage: Stage) -> None:
    """A worker asks for jobs of a queue that it was fired from."""
    stage.enqueue(new_job())
    workers.fire(stage.backend, "near", "plain", actor=ACTOR)
    stage.claim()


def an_outcome_after_release(stage: Stage) -> None:
    """A worker gives a job back, and then has an outcome of it after all."""
    stage.enqueue(new_job())
    (lease,) = stage.claim()
    stage.settle(lease, OutcomeKind.RELEASED)
    stage.settle(lease, OutcomeKind.COMPLETED, result="3")


def a_repeating_job_that_expires(stage: Stage) -> None:
    """A job that repeats after failure is not begun in time."""
    minute = timedelta(minutes=1)
    stage.enqueue(new_job(expires_in=minute, repeats_after_fail=2 * minute))
    stage.later(61)
    maintenance.expire(stage.backend)


def two_ends_of_one_chord(stage: Stage) -> None:
    """The two jobs of a header end at once: neither sees the other's end, unless it waits for it."""
    first, second, *others = (new_job() for _ in range(4))
    edges = tuple(Edge(upstream=job.id, kind=EdgeKind.CHORD) for job in (first, second))
    stage.enqueue(first, second, new_job(after=edges), *others)
    leases = stage.claim(slots=2)
    _end_together(stage, [outcome(lease, OutcomeKind.COMPLETED, result="1") for lease in leases])


def _end_together(stage: Stage, outcomes: list[Outcome]) -> None:
    # each claims another job in the transaction in which it settles: at its claim it stops, not yet committed
    with holding(stage.database, "LOCK TABLE outsourced_replies IN EXCLUSIVE MODE"):
        ends = [Aside(partial(_end_and_claim, stage, one)) for one in outcomes]
        until(lambda: len(waiting(stage.database)) == 2)
    for end in ends:
        end.result()


def _end_and_claim(stage: Stage, ended: Outcome) -> None:
    stage.site.say(claim_id=uuid4(), slots=1, tasks=(TASK,), outcomes=(ended,))


def a_replacement_that_had_ended(stage: Stage) -> None:
    """A worker says that a job is replaced when another has completed the replacement."""
    lease, child = _with_child(stage)
    stage.settle(child, OutcomeKind.COMPLETED, result="3")
    stage.settle(lease, OutcomeKind.REPLACED, replaced_by=child.job_id)


def a_replacement_that_is_ending(stage: Stage) -> None:
    """A worker says that a job is replaced while another completes the replacement."""
    lease, child = _with_child(stage)
    stage.enqueue(*(new_job() for _ in range(4)))
    ended = outcome(child, OutcomeKind.COMPLETED, result="3")
    _end_together(stage, [ended, outcome(lease, OutcomeKind.REPLACED, replaced_by=child.job_id)])


def _with_child(stage: Stage) -> tuple[Lease, Lease]:
    """A job at work, and one that its task has enqueued."""
    stage.enqueue(new_job())
    (lease,) = stage.claim()
    stage.enqueue_under(lease, new_job())
    (child,) = stage.claim()
    return lease, child


def a_chain_whose_first_fails(stage: Stage) -> None:
    """The first of three jobs in a chain fails."""
    first, second, third = new_job(), new_job(), new_job()
    second = replace(second, after=(Edge(upstream=first.id),))
    third = replace(third, after=(Edge(upstream=second.id),))
    stage.enqueue(first, second, third)
    (lease,) = stage.claim()
    stage.settle(lease, OutcomeKind.FAILED, error=FAILURE)


def a_retry_of_what_others_failed_with(stage: Stage) -> None:
    """The first of three jobs in a chain fails, and a person has it tried again; then it completes."""
    a_chain_whose_first_fails(stage)
    (first,) = stage.backend.jobs(state=State.FAILED)[-1:]
    stage.backend.requeue(first.id)
    (lease,) = stage.claim()
    stage.settle(lease, OutcomeKind.COMPLETED, result="3")


def a_claim_asked_for_twice(stage: Stage) -> None:
    """A worker does not get the answer to its claim, and asks again."""
    stage.enqueue(new_job(), new_job())
    claim_id = uuid4()
    stage.claim(slots=1, claim_id=claim_id)
    stage.claim(slots=1, claim_id=claim_id)


def two_claims_of_one_permit(stage: Stage) -> None:
    """Two workers ask for jobs of a task of which one may be begun now."""
    stage.claim()  # introduces the instance: of two that do, one would wait for the other
    stage.enqueue(new_job(), new_job())
    stage.backend.limit_task(TASK, "1/m")
    first, second = uuid4(), uuid4()
    keys = {"caller": "worker:1", "first": f"claim:{first}", "second": f"claim:{second}"}
    # each stops in the midst of its statement, as it keeps its reply: somebody is about to have kept it
    with holding(stage.database, _REPLIES, keys):
        claims = [Aside(partial(stage.claim, slots=1, claim_id=first))]
        until(lambda: len(waiting(stage.database)) == 1)
        claims.append(Aside(partial(stage.claim, slots=1, claim_id=second)))
        until(lambda: len(waiting(stage.database)) == 2)
    for claim in claims:
        claim.result()


WORKLOADS: dict[str, Callable[[Stage], None]] = {
    workload.__name__: workload
    for workload in (
        a_late_outcome,
        a_rescue_between_heartbeats,
        two_producers_for_one_place,
        a_producer_that_waited_its_turn,
        a_producer_cut_off_at_its_commit,
        a_retry_after_cancel,
        a_whole_life,
        a_worker_gone,
        a_lock_out_during_a_claim,
        a_claim_after_firing,
        an_outcome_after_release,
        a_repeating_job_that_expires,
        a_claim_asked_for_twice,
        two_ends_of_one_chord,
        a_replacement_that_had_ended,
        a_replacement_that_is_ending,
        a_chain_whose_first_fails,
        a_retry_of_what_others_failed_with,
        two_claims_of_one_permit,
    )
}


def main(*names_and_urls: str) -> None:
    """Prints where the package is, and by workload what the checker found, by invariant."""
    found: dict[str, dict[str, str]] = {}
    for name, url in zip(names_and_urls[::2], names_and_urls[1::2], strict=True):
        stage = Stage(Database(url))
        WORKLOADS[name](stage)
        found[name] = {one.invariant: str(one) for one in stage.violations()}
        stage.database.dispose()
    print(json.dumps({"package": outsourced.__file__, "found": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
