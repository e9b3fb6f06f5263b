"""All invariants at once, and the four numbers of every report: lost, unexpected, duplicated, recovered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tests.checker import calls as told
from tests.checker.depth import bounded_queues_hold
from tests.checker.follow import admitted_when_all_have_completed
from tests.checker.leases import one_lease_at_a_time, only_the_holder_ends_it, within_budgets
from tests.checker.lives import lives_of
from tests.checker.paths import history_is_complete, path_of_the_table
from tests.checker.rates import begun_within_limits
from tests.checker.records import Call, Records, Start, Violation
from tests.checker.repeats import repeats_once
from tests.checker.standing import claimed_by_the_entitled

#: violations that a failed assertion lists
LISTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Jepsen's total-queue: what became of the jobs that clients meant to enqueue."""

    jobs: int
    lost: int  #: acknowledged, and gone
    unexpected: int  #: there, and nobody's
    duplicated: int  #: run more than once
    recovered: int  #: enqueued without an answer, and there

    def __str__(self) -> str:
        return (
            f"{self.jobs} jobs: {self.lost} lost, {self.unexpected} unexpected, "
            f"{self.duplicated} duplicated, {self.recovered} recovered"
        )


def check(
    records: Records,
    *,
    calls: Sequence[Call] = (),
    starts: Sequence[Start] = (),
    quiesced: bool = True,
    lease_ttl: timedelta | None = None,
) -> list[Violation]:
    """All violations, by invariant.

    `quiesced`: faults have stopped and workers have drained. `lease_ttl`: how long each lease is good.
    """
    lives = lives_of(records)
    return [
        *told.no_loss(records, lives, calls, starts, quiesced=quiesced),
        *told.nothing_from_nowhere(records, calls),
        *told.one_job_a_key(records, calls),
        *path_of_the_table(lives),
        *history_is_complete(lives),
        *one_lease_at_a_time(lives, calls, lease_ttl),
        *only_the_holder_ends_it(lives, calls),
        *claimed_by_the_entitled(records, lives),
        *within_budgets(lives, starts),
        *bounded_queues_hold(records, lives, calls),
        *repeats_once(records, lives),
        *begun_within_limits(records, lives),
        *admitted_when_all_have_completed(records, lives),
        *told.cancelled_stays_so(lives, calls, quiesced=quiesced),
        *told.same_claim_same_leases(calls),
    ]


def totals(records: Records, *, calls: Sequence[Call] = (), starts: Sequence[Start] = ()) -> Totals:
    """The four numbers."""
    runs = Counter(start.job_id for start in starts)
    unanswered = told.enqueues(calls, "info") - told.enqueues(calls, "ok")
    return Totals(
        jobs=len(records.jobs),
        lost=len(told.lost(records, calls)),
        unexpected=len(told.unexpected(records, calls)),
        duplicated=sum(times > 1 for times in runs.values()),
        recovered=len(unanswered & {job.id for job in records.jobs}),
    )


def assert_clean(
    records: Records, *, calls: Sequence[Call] = (), starts: Sequence[Start] = (), **known: Any
) -> Totals:
    """Fails with the violations, if `check` finds any; prints and gives the totals."""
    found = totals(records, calls=calls, starts=starts)
    print(found)
    violations = check(records, calls=calls, starts=starts, **known)
    if violations:
        listed = "\n".join(f"  {violation}" for violation in violations[:LISTED])
        raise AssertionError(f"{len(violations)} violations among {found}\n{listed}")
    return found
