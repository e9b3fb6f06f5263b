"""`app.control`: revokes jobs, and tells what workers do. The server knows: no worker is asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from outsourced.results import AsyncResult


class Control:
    """Celery's remote control, as far as it means something here."""

    def revoke(
        self,
        task_id: str | UUID | Iterable[str | UUID],
        destination: Any = None,
        terminate: bool = False,
        **ignored: Any,
    ) -> None:
        """Cancels the job, or several; one that has begun is asked to stop only with `terminate`."""
        ids = [task_id] if isinstance(task_id, (str, UUID)) else task_id
        for one in ids:
            AsyncResult[Any](one).revoke()
