"""A lease in this worker's hands, from its arrival to its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from outsourced.records import Held, Lease, Outcome, OutcomeKind, Progress, Told


@dataclass(slots=True, eq=False)
class Assignment:
    """A lease and how far its job has come; all times are readings of `time.monotonic()`.

    The pool writes `begun_at` and `progress`, whoever reports the outcome `ended`, the claim loop the rest.
    """

    lease: Lease
    asked_at: float  #: when the claim was sent: the lease's durations count from here
    arrived_at: float
    begun_at: float | None = None
    begin_reported: bool = False
    ended: bool = False
    progress: Progress | None = None  #: what its task last said of itself
    told: Progress | None = None  #: what the server was last told of that
    times_told: int = 0

    @property
    def has_news(self) -> bool:
        """Whether the server is to be told of its progress: only of what it knows to have begun."""
        return self.progress is not self.told and self.begin_reported

    def note(self, progress: Progress) -> None:
        """Keeps what its task says of itself, until the next request that may tell it."""
        self.progress = progress

    def tell(self) -> Told:
        """The progress, for a request."""
        self.told = self.progress
        self.times_told += 1
        assert self.told is not None
        return Told(
            lease_id=self.lease.id, job_id=self.lease.job_id, number=self.times_told, progress=self.told
        )

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
