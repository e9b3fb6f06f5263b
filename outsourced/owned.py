"""The jobs of a Thing: how many it has, in which states, and an end to all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from outsourced import backend
from outsourced.backend import OwnerView
from outsourced.errors import ConfigurationError
from outsourced.owners import owner_of
from outsourced.records import Job, Owner
from outsourced.states import LIVE, State


def jobs_of(thing: Any) -> OwnedJobs:
    """The jobs enqueued with `owner=thing`: an instance of a model, any object with an id, or a pair.

    Raises TypeError or ValueError for a thing without an id.
    """
    return OwnedJobs(owner_of(thing))


class OwnedJobs:
    """The jobs of one owner, read anew at each call. Iterating gives the newest first."""

    def __init__(self, owner: Owner, *, view: OwnerView | None = None) -> None:
        """`view` is where they are looked for; None: in the backend in force."""
        self.owner = owner
        self._given_view = view

    def __repr__(self) -> str:
        return f"<OwnedJobs of {self.owner.type} {self.owner.id}>"

    def __iter__(self) -> Iterator[Job]:
        return self._view.jobs_of(self.owner)

    def __len__(self) -> int:
        return self.count()

    def __bool__(self) -> bool:
        return self.count() > 0

    def count(self, *states: State | str) -> int:
        """How many there are, of these states or of all."""
        counts = self.by_state()
        return sum(counts.values()) if not states else sum(counts.get(State(state), 0) for state in states)

    def live(self) -> int:
        """How many have not ended."""
        return self.count(*LIVE)

    def by_state(self) -> Mapping[State, int]:
        """How many there are in each state, in one query; states without any are left out."""
        return self._view.count_of(self.owner)

    def cancel(self) -> int:
        """Cancels all that have not ended, or asks their workers to stop; gives how many that are."""
        return sum(self._view.cancel_of(self.owner))

    @property
    def _view(self) -> OwnerView:
        current = self._given_view or backend.current()
        if not isinstance(current, OwnerView):
            raise ConfigurationError(
                "the jobs of an owner are known to the server and to clients, not to tasks"
            )
        return current


class HasJobs:
    """A mixin for models: `thing.jobs` are the jobs enqueued with `owner=thing`."""

    @property
    def jobs(self) -> OwnedJobs:
        return jobs_of(self)
