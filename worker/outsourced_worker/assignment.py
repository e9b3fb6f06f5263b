"""A lease in this worker's hands, from its arrival to its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from outsourced.records import Held, Lease, Outcome, OutcomeKind


@dataclass(slots=True, eq=False)
class Assignment:
    """A lease and how far its job has come; all times are readings of `time.monotonic()`.

    The pool writes `begun_at`, whoever reports the outcome writes `ended`, the claim loop the rest.
    """

    lease: Lease
    asked_at: float  #: when the claim was sent: the lease's durations count from here
    arrived_at: float
    begun_at: float | None = None
    begin_reported: bool = False
    ended: bool = False

    @property
    def id(self) -> UUID:
        return self.lease.id

    def is_expired(self, now: float) -> bool:
        """Whether it is too late to begin."""
        expires_in = self.lease.expires_in
        return expires_in is not None and now > self.asked_at + expires_in

    def as_held(self) -> Held:
        """How a request names this lease."""
        return Held(lease_id=self.lease.id, job_id=self.lease.job_id, begun_at=self.begun_at)

    def outcome(self, kind: OutcomeKind, *, reason: str | None = None) -> Outcome:
        """An outcome that comes from the worker, not from the task."""
        return Outcome(lease_id=self.lease.id, job_id=self.lease.job_id, kind=kind, reason=reason)
