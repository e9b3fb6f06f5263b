"""The memory of a process, as Linux tells it."""

from __future__ import annotations

from pathlib import Path


class Memory:
    """The peak of a process's resident memory since this was made."""

    def __init__(self, pid: int | None) -> None:
        self._folder = Path(f"/proc/{pid}")
        (self._folder / "clear_refs").write_text("5")
        self._before = self._read("VmRSS")

    def grown(self) -> float:
        """In MB."""
        return self._read("VmHWM") - self._before

    def _read(self, name: str) -> float:
        lines = (self._folder / "status").read_text().splitlines()
        (line,) = [line for line in lines if line.startswith(f"{name}:")]
        return int(line.split()[1]) / 1024
