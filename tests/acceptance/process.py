"""A server or worker under test: what befalls processes in the field, and what becomes of them."""

from __future__ import annotations

import os
import signal

import psutil

from processes import Supervised
from tests.acceptance.waiting import is_gone, wait_until


class Process(Supervised):
    """A supervised process that can be killed, frozen, and waited for."""

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def terminate(self) -> None:
        """Asks it to end."""
        assert self._process is not None
        self._process.terminate()

    def wait_ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._process is not None
        wait_until(self.has_died)
        return self._process.returncode

    def kill(self) -> None:
        """Kills it alone, at once; its children must end by themselves."""
        children = self.children()
        assert self.pid is not None
        os.kill(self.pid, signal.SIGKILL)
        wait_until(self.has_died)
        wait_until(lambda: all(map(is_gone, children)))

    def kill_all(self) -> None:
        """Kills it and its children, as when its machine dies."""
        assert self.pid is not None
        os.killpg(self.pid, signal.SIGKILL)
        wait_until(self.has_died)

    def end(self) -> None:
        """Ends it and its children without a word, if it runs."""
        if self._process is not None:
            self._end_group()

    def freeze(self) -> None:
        """Stops it and its children in the midst of what they do."""
        assert self.pid is not None
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets them go on as if nothing had been."""
        assert self.pid is not None
        os.killpg(self.pid, signal.SIGCONT)

    def children(self) -> list[psutil.Process]:
        """The processes it has started, and theirs."""
        return psutil.Process(self.pid).children(recursive=True)

    def says(self, text: str) -> bool:
        """Whether its log has these words."""
        return text in self.log.read_text(errors="replace")
