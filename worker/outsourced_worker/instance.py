"""How a worker's process introduces itself."""

from __future__ import annotations

import os
import socket
from uuid import uuid4

from outsourced.records import Instance
from outsourced_worker import installed_version


def node_name(pattern: str) -> str:
    """The name with Celery's %h, %n and %d replaced: the host's name, its first part, and the rest."""
    host = socket.gethostname()
    short, _, domain = host.partition(".")
    for sign, part in {"%h": host, "%n": short, "%d": domain, "%%": "%"}.items():
        pattern = pattern.replace(sign, part)
    return pattern


def this_instance(name: str | None = None) -> Instance:
    """This process, under its own name or the host's."""
    return Instance(
        id=uuid4(), host=name or socket.gethostname(), pid=os.getpid(), version=installed_version()
    )
