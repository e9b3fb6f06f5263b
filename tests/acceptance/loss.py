"""A proxy's watcher that loses answers after what they answer was committed."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.proxy import Passing, Verdict, Watcher

#: of the answers that could be lost, as long as some are still to be
SHARE = 0.5


@dataclass
class Losses(Watcher):
    """Loses so many answers to claims and so many to outcomes, and remembers what they said."""

    wanted: int
    random: random.Random
    claims: list[tuple[str, list[str]]] = field(default_factory=list)  #: claim id, and the leases it brought
    outcomes: list[list[str]] = field(default_factory=list)  #: the leases whose outcomes were recorded
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_done(self) -> bool:
        return len(self.claims) >= self.wanted and len(self.outcomes) >= self.wanted

    def on_answer(self, passing: Passing) -> Verdict:
        with self._lock:
            if passing.status != 200 or self.random.random() > SHARE:
                return Verdict.PASS
            leases, settled = ids(passing.answered["leases"], "id"), passing.answered["settled"]
            claim_counts = bool(leases) and len(self.claims) < self.wanted
            outcome_counts = bool(settled) and len(self.outcomes) < self.wanted
            if claim_counts:
                self.claims.append((passing.said["claim_id"], leases))
            if outcome_counts:
                self.outcomes.append(ids(settled, "lease_id"))
            return Verdict.CUT if claim_counts or outcome_counts else Verdict.PASS


def ids(members: list[dict[str, Any]], name: str) -> list[str]:
    """This member of each."""
    return [member[name] for member in members]
