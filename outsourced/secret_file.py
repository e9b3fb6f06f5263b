"""Files that hold a secret: nobody but their owner may read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from outsourced.errors import ConfigurationError


def check_access(path: Path) -> list[str]:
    """Refuses a file that others can read; where it cannot be helped (a read-only mount) a warning."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return []  # reading it tells more
    if os.name != "posix" or not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return []
    if _is_read_only(path):
        return [f"{path} can be read by others; it is on a read-only mount, so that is left to you"]
    raise ConfigurationError(
        f"{path} holds a secret and can be read by others (mode {stat.S_IMODE(mode):04o}): "
        f"run `chmod 600 {path}`"
    )


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
