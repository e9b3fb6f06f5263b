"""How a worker's process introduces itself."""

from __future__ import annotations

import os
import socket
from uuid import uuid4

from outsourced.records import Instance
from outsourced_worker import installed_version


def this_instance(name: str | None = None) -> Instance:
    """This process, under its own name or the host's."""
    return Instance(
        id=uuid4(), host=name or socket.gethostname(), pid=os.getpid(), version=installed_version()
    )
