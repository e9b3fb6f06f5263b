"""A producer that keeps a backlog of chores, and remembers what it was told of each."""

from __future__ import annotations

import random
import threading
from types import TracebackType
from uuid import UUID

from tests.acceptance.deployment import Deployment

#: jobs of one call
BATCH = 5
#: seconds between two looks at the backlog
GLANCE = 0.05


class Production:
    """Enqueues in a thread of its own while its block lasts."""

    def __init__(
        self, deployment: Deployment, random: random.Random, *, backlog: int, longest: float
    ) -> None:
        self._deployment = deployment
        self._random = random
        self._backlog = backlog
        self._longest = longest
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._loop)
        self._failure: BaseException | None = None
        self.acknowledged: list[UUID] = []

    def __enter__(self) -> Production:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        if self._failure is not None:
            # the cause of whatever came of it: with no jobs nothing happens any more
            raise self._failure from error

    def _loop(self) -> None:
        try:
            while not self._ending.wait(GLANCE):
                for _ in range(0, self._backlog - self._deployment.unfinished(), BATCH):
                    # most are too short to be reported as begun, some are not
                    seconds = self._longest * self._random.random() ** 3
                    self.acknowledged += self._deployment.enqueue("chore", round(seconds, 3), count=BATCH)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that uses it
            self._failure = error
