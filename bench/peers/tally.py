"""What every peer's no-op job does, ours too: it adds one byte to a file, whose size tells how many ran."""

from __future__ import annotations

import os
from functools import cache


def mark() -> None:
    """One job has run; costs about a microsecond."""
    os.write(_file(os.getpid()), b".")


@cache
def _file(pid: int) -> int:
    return os.open(os.environ["BENCH_TALLY"], os.O_WRONLY | os.O_APPEND)
