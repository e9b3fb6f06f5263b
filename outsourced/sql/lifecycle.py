"""Every way a job changes state, as data; a dialect turns one into its UPDATE and its history row.

A `Move` is the *only* source of SQL that writes `state`. Its expressions are SQL that all dialects
share; what they do not share goes through `Syntax`. The sources and targets are checked against
`states.TRANSITIONS` when this module is imported, and each expression against `states.next_state`
in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

from outsourced.following import irreplaceable
from outsourced.states import LEASED, REPEATABLE, TERMINAL, TRANSITIONS, UNLEASED, Event, Reason, State


class Syntax(Protocol):
    """The SQL that dialects spell differently."""

    now: str
    job_id: str
    """The job that is moved, even inside a subquery."""

    def after(self, seconds: str) -> str:
        """The moment this many seconds from now."""

    def given(self, name: str) -> str:
        """A value that comes with each row."""

    def constant(self, name: str) -> str:
        """A value that is the same for all rows of the statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One edge, or one family of edges, of the life cycle, in SQL over a job's old row."""

    event: Event
    others: frozenset[Event] = frozenset()  #: events it may be as well: then it is given which
    sources: frozenset[State]
    target: str  #: the state after
    sets: dict[str, str] = field(default_factory=dict)  #: further columns
    given: dict[str, str] = field(default_factory=dict)  #: row values: name → PostgreSQL type
    guard: str = "TRUE"
    reason: str = "NULL"
    error: str = "NULL"
    lease: str = "NULL"  #: the lease the history row names
    stores_result: bool = False
    stores_payload: bool = False  #: of a job that is to be tried again, if it is given another
    hands_over: bool = False  #: to the job `replaced_by`, for which it waits from then on

    @property
    def targets(self) -> frozenset[State]:
        """Every state this move may end in, by the published table."""
        edges = ((source, event) for source in self.sources for event in (self.event, *self.others))
        return frozenset().union(*(TRANSITIONS[edge] for edge in edges))

    @property
    def ends(self) -> bool:
        """Whether it may end a job."""
        return bool(self.targets & TERMINAL)

    @property
    def repeats(self) -> bool:
        """Whether it may end a job in a way after which the job repeats, if it is one that does."""
        return bool(self.targets & REPEATABLE)

    def event_by(self, syntax: Syntax) -> str:
        """The event, in SQL over the row values."""
        return syntax.given("event") if self.others else f"'{self.event}'"

    def columns(self, syntax: Syntax) -> dict[str, str]:
        """All columns this move sets but `state`, with their expressions."""
        sets = {"version": "version + 1", "reason": self.reason}
        if self.targets <= TERMINAL:
            sets |= {"ended_at": syntax.now, "live_key": "NULL", "bounded_queue_id": "NULL"}
        elif self.ends:
            ended = f"({self.target}) IN ({_listed(TERMINAL)})"
            sets |= {
                "ended_at": f"CASE WHEN {ended} THEN {syntax.now} END",
                "live_key": f"CASE WHEN NOT {ended} THEN live_key END",
                "bounded_queue_id": f"CASE WHEN NOT {ended} THEN bounded_queue_id END",
            }
        if self.sources & LEASED and not self.targets & LEASED:
            sets |= {"lease_until": "NULL"}
        return sets | self.sets


def _listed(states: frozenset[State]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


def source_condition(move: Move) -> str:
    """The guard of D1 without its lease: the states this move may start from."""
    return f"state IN ({_listed(move.sources)})"


_BEGINS = "CASE WHEN state = 'assigned' THEN 1 ELSE 0 END"

#: a job that repeats, ended in a way it repeats after, has the seconds from start to start here
REPEATS_AFTER = (
    "CASE WHEN state = 'completed' THEN repeats_after_complete"
    " WHEN state IN ('failed', 'expired') THEN repeats_after_fail END"
)
_IS_TO_REPEAT = "coalesce(repeats_after_complete, repeats_after_fail) IS NOT NULL"
_STAYS = f"(cancel_requested_at IS NOT NULL OR {_IS_TO_REPEAT})"
_LEASE_TYPES = {"lease_id": "uuid"}
_RAN_TYPES = {"began_ago": "float8"}


def moves(syntax: Syntax) -> dict[str, Move]:
    """All moves by name, in this dialect's spelling."""
    under_lease = f"lease_id = {syntax.given('lease_id')} AND worker_id = {syntax.constant('worker_id')}"
    return (
        _of_unleased(syntax)
        | _by_outcome(syntax, under_lease)
        | _by_report(syntax, under_lease)
        | {
            "claim": _claim(syntax),
            "take_back": _rescue(syntax, given={}, guard="TRUE", error="NULL", reclaimable=True),
            "take_stuck": _take_stuck(syntax),
            "send_back": _release(syntax, given={}, guard="TRUE"),
            "reclaim": _reclaim(syntax, under_lease),
            "follow": _follow(syntax),
        }
    )


def _of_unleased(s: Syntax) -> dict[str, Move]:
    """What servers and people do to a job nobody holds."""
    return {
        "promote": Move(
            event=Event.PROMOTE,
            sources=frozenset({State.SCHEDULED, State.RETRYING}),
            target="'unassigned'",
        ),
        "expire": Move(
            event=Event.EXPIRE, sources=UNLEASED, target="'expired'", sets={"rescued_from": "NULL"}
        ),
        "cancel": Move(
            event=Event.CANCEL,
            sources=UNLEASED,
            target="'cancelled'",
            sets={"cancel_requested_at": s.now, "rescued_from": "NULL"},
        ),
        "requeue": _requeue(s),
        "revive": _revive(s),
    }


def _by_outcome(s: Syntax, under_lease: str) -> dict[str, Move]:
    """How a worker begins a job and ends it; an end implies the begin it did not report."""
    began = s.after("-" + s.given("began_ago"))
    begun = {
        "attempt": f"attempt + {_BEGINS}",
        "begun_at": f"CASE WHEN state = 'working' THEN begun_at ELSE {began} END",
        "rescued_from": "NULL",
    }
    return {
        "begin": Move(
            event=Event.BEGIN,
            sources=frozenset({State.ASSIGNED}),
            target="'working'",
            given=_LEASE_TYPES | _RAN_TYPES,
            guard=under_lease,
            lease="lease_id",
            sets=begun,
        ),
        "complete": Move(
            event=Event.COMPLETE,
            sources=LEASED,
            target="'completed'",
            given=_LEASE_TYPES | _RAN_TYPES | {"result": "text", "reason": "text"},
            guard=under_lease,
            lease="lease_id",
            reason=s.given("reason"),
            sets=begun,
            stores_result=True,
        ),
        "fail": _fail(s, under_lease, begun),
        "replace": _replace(s, under_lease, begun),
    }


def _by_report(s: Syntax, under_lease: str) -> dict[str, Move]:
    """How a worker gives a lease up without having ended the job's work."""
    error = s.given("error")
    return {
        "release": _release(s, given=_LEASE_TYPES, guard=under_lease),
        "report_cancelled": Move(
            event=Event.CANCEL,
            sources=LEASED,
            target="'cancelled'",
            given=_LEASE_TYPES,
            guard=f"{under_lease} AND cancel_requested_at IS NOT NULL",
            lease="lease_id",
        ),
        "report_expired": Move(
            event=Event.EXPIRE,
            sources=frozenset({State.ASSIGNED}),
            target="'expired'",
            given=_LEASE_TYPES,
            guard=f"{under_lease} AND expires_at IS NOT NULL",
            lease="lease_id",
        ),
        "report_lost": _rescue(
            s, given=_LEASE_TYPES | {"error": "text"}, guard=under_lease, error=error, reclaimable=False
        ),
    }


def _take_stuck(s: Syntax) -> Move:
    """As a rescue, but whoever has it is to stop: it does not come home."""
    stuck = f"begun_at <= {s.after('-stuck_after')}"
    rescue = _rescue(s, given={}, guard=stuck, error="NULL", reclaimable=False)
    return replace(rescue, sources=frozenset({State.WORKING}))


def _follow(s: Syntax) -> Move:
    """What the ends of others mean for a job that waits for them; its dates are counted from now on."""
    event = s.given("event")
    admitted = f"{event} = '{Event.ADMIT}'"
    return Move(
        event=Event.ADMIT,
        others=frozenset({Event.FAIL, Event.CANCEL}),
        sources=frozenset({State.WAITING}),
        target=f"CASE {event} WHEN '{Event.FAIL}' THEN 'failed' WHEN '{Event.CANCEL}' THEN 'cancelled'"
        f" ELSE CASE WHEN runs_after > 0 OR runs_at > {s.now} THEN 'scheduled' ELSE 'unassigned' END END",
        given={"event": "text", "reason": "text", "error": "text", "input": "text"},
        reason=s.given("reason"),
        error=s.given("error"),
        sets={
            "runs_at": f"CASE WHEN {admitted} AND runs_after IS NOT NULL THEN {s.after('runs_after')}"
            " ELSE runs_at END",
            "expires_at": f"CASE WHEN {admitted} AND expires_at IS NULL AND expires_after IS NOT NULL"
            f" THEN {s.after('coalesce(runs_after, 0) + expires_after')} ELSE expires_at END",
        },
    )


def _claim(s: Syntax) -> Move:
    return Move(
        event=Event.CLAIM,
        sources=frozenset({State.UNASSIGNED}),
        target="'assigned'",
        given={"lease_id": "uuid"},
        guard=f"(expires_at IS NULL OR expires_at > {s.now})",
        lease=s.given("lease_id"),
        sets={
            "lease_id": s.given("lease_id"),
            "lease_until": s.after(s.constant("ttl")),
            "worker_id": s.constant("worker_id"),
            "instance_id": s.constant("instance_id"),
            "rescued_from": "NULL",
        },
    )


def _requeue(s: Syntax) -> Move:
    return Move(
        event=Event.RETRY,
        sources=TERMINAL,
        target="'unassigned'",
        given={"bounded_queue_id": "int4"},
        sets={
            "failures": "0",
            "losses": "0",
            "lost_deliveries": "0",
            "runs_at": s.now,
            "expires_at": "NULL",
            "ended_at": "NULL",
            "begun_at": "NULL",
            "cancel_requested_at": "NULL",
            "rescued_from": "NULL",
            "live_key": "unique_key",
            "bounded_queue_id": s.given("bounded_queue_id"),
        },
    )


def _revive(s: Syntax) -> Move:
    """Back to waiting, because a job that it waited for is tried again; its dates count from then."""
    again = _requeue(s)
    sets = {name: value for name, value in again.sets.items() if name != "runs_at"}
    return replace(again, target="'waiting'", sets=sets)


def _fail(s: Syntax, under_lease: str, begun: dict[str, str]) -> Move:
    budget = f"coalesce({s.given('max_retries')}, max_retries, -1)"
    exhausted = f"({budget} >= 0 AND failures >= {budget})"
    next_try = s.after(s.given("delay"))
    expiry = f"coalesce({s.after(s.given('expires_in'))}, expires_at)"
    target = (
        f"CASE WHEN NOT {s.given('wants_retry')} OR {exhausted} THEN 'failed'"
        f" WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'"
        f" WHEN {expiry} <= {next_try} THEN 'expired'"
        " ELSE 'retrying' END"
    )
    return Move(
        event=Event.FAIL,
        sources=LEASED,
        target=target,
        given=_LEASE_TYPES
        | _RAN_TYPES
        | {
            "error": "text",
            "wants_retry": "bool",
            "delay": "float8",
            "max_retries": "int4",
            "reason": "text",
            "payload": "text",
            "priority": "int2",
            "expires_in": "float8",
        },
        guard=under_lease,
        lease="lease_id",
        error=s.given("error"),
        reason=f"CASE WHEN {s.given('wants_retry')} AND {exhausted} THEN '{Reason.RETRIES_EXHAUSTED}'"
        f" ELSE {s.given('reason')} END",
        sets=begun
        | {
            "failures": "failures + 1",
            "runs_at": f"CASE WHEN {s.given('wants_retry')} THEN {next_try} ELSE runs_at END",
            "priority": f"coalesce({s.given('priority')}, priority)",
            "expires_at": expiry,
        },
        stores_payload=True,
    )


def _replace(s: Syntax, under_lease: str, begun: dict[str, str]) -> Move:
    """By a child of its own; once that has completed, a task that every worker knows passes its result on."""
    by, job_id = s.given("replaced_by"), s.job_id
    is_child = f"EXISTS (SELECT 1 FROM outsourced_jobs c WHERE c.id = {by} AND c.parent_id = {job_id})"
    # pk_outsourced_edges
    edges = f"outsourced_edges x WHERE x.upstream_id = {by} AND x.downstream_id = {job_id}"
    is_new = f"NOT EXISTS (SELECT 1 FROM {edges})"
    return Move(
        event=Event.REPLACE,
        sources=LEASED,
        target="CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'"
        f" WHEN {_IS_TO_REPEAT} THEN 'failed' ELSE 'waiting' END",
        given=_LEASE_TYPES | _RAN_TYPES | {"replaced_by": "uuid", "task_id": "int4", "reason": "text"},
        guard=f"{under_lease} AND {is_child} AND {is_new}",
        lease="lease_id",
        reason=f"CASE WHEN NOT {_STAYS} THEN {s.given('reason')} END",
        error=f"CASE WHEN cancel_requested_at IS NULL AND {_IS_TO_REPEAT}"
        f" THEN '{irreplaceable().dumped()}' END",
        sets=begun
        | {
            "task_id": f"CASE WHEN {_STAYS} THEN task_id ELSE {s.given('task_id')} END",
            "runs_after": f"CASE WHEN {_STAYS} THEN runs_after END",
            # it has begun in time
            "expires_at": f"CASE WHEN {_STAYS} THEN expires_at END",
            "expires_after": f"CASE WHEN {_STAYS} THEN expires_after END",
        },
        hands_over=True,
    )


def _release(s: Syntax, *, given: dict[str, str], guard: str) -> Move:
    return Move(
        event=Event.RELEASE,
        sources=LEASED,
        target="CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE 'unassigned' END",
        given=given | {"reason": "text"},
        guard=guard,
        lease="lease_id",
        reason=s.given("reason"),
        sets={"begun_at": "NULL", "rescued_from": "NULL"},
    )


def _rescue(s: Syntax, *, given: dict[str, str], guard: str, error: str, reclaimable: bool) -> Move:
    lost = "state = 'working' AND losses >= max_losses"
    return Move(
        event=Event.RESCUE,
        sources=LEASED,
        target="CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'"
        " WHEN state = 'assigned' THEN 'unassigned'"
        f" WHEN {lost} THEN 'failed' ELSE 'retrying' END",
        given=given | {"reason": "text"},
        guard=guard,
        lease="lease_id",
        error=error,
        reason=f"CASE WHEN {lost} AND cancel_requested_at IS NULL THEN '{Reason.LOST}'"
        f" ELSE {s.given('reason')} END",
        sets={
            "losses": "losses + CASE WHEN state = 'working' THEN 1 ELSE 0 END",
            "lost_deliveries": f"lost_deliveries + {_BEGINS}",
            "runs_at": f"CASE WHEN state = 'working' THEN {s.now} ELSE runs_at END",
            "rescued_from": "state" if reclaimable else "NULL",
        },
    )


def _reclaim(s: Syntax, under_lease: str) -> Move:
    return Move(
        event=Event.RECLAIM,
        sources=frozenset({State.UNASSIGNED, State.RETRYING}),
        target="rescued_from",
        given=_LEASE_TYPES,
        guard=f"{under_lease} AND rescued_from IS NOT NULL",
        lease="lease_id",
        sets={
            "losses": "losses - CASE WHEN rescued_from = 'working' THEN 1 ELSE 0 END",
            "lost_deliveries": "lost_deliveries - CASE WHEN rescued_from = 'assigned' THEN 1 ELSE 0 END",
            "lease_until": s.after(s.constant("ttl")),
            "rescued_from": "NULL",
        },
    )
