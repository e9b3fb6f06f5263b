"""Progress on its way from a slot process to its parent: the last of a moment, by a thread of its own.

By a thread: a soft time limit interrupts the task anywhere, and may not tear a frame in two.
"""

from __future__ import annotations

import threading
import time

from outsourced.records import Progress
from outsourced_worker.pools.frames import FrameWriter, frame

#: seconds between two frames
PAUSE = 0.1


class Teller:
    """Takes what tasks say of themselves, as often as they like. The thread begins with the first of it."""

    def __init__(self, out: FrameWriter) -> None:
        self._out = out
        self._news = threading.Event()
        self._newest: tuple[int, Progress] | None = None
        self._thread: threading.Thread | None = None

    def tell(self, number: int, progress: Progress) -> None:
        """Takes the progress of the job of this number."""
        self._newest = (number, progress)
        if not self._news.is_set():
            if self._thread is None or not self._thread.is_alive():
                self._begin()
            self._news.set()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._loop, name="outsourced-progress", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            newest, self._newest = self._newest, None
            if newest is not None:
                number, progress = newest
                try:
                    self._out.write(frame((number, progress.state, progress.meta)))
                except BrokenPipeError:
                    return  # the parent is gone
            time.sleep(PAUSE)
