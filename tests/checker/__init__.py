"""Did the queue keep its promises? A checker over what clients saw, what ran, and what the database says.

The invariants bear the names I1 … I18 of the reliability rules; this package checks those that a job's
history decides. It is pure over plain records (`Records.read` fetches them) and O(n log n): a job is one
register with unique writes, the lease ids, so a fold per job decides, with no search for an order.
"""

from tests.checker.checks import Totals, assert_clean, check
from tests.checker.records import Act, Call, JobRow, QueueRow, Records, Start, Step, Violation, WorkerRow

__all__ = [
    "Act",
    "Call",
    "JobRow",
    "QueueRow",
    "Records",
    "Start",
    "Step",
    "Totals",
    "Violation",
    "WorkerRow",
    "assert_clean",
    "check",
]
