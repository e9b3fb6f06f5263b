"""The API of workers: the exchange, files, and who am I. docs/protocol.md describes it."""

from __future__ import annotations

from flask import Blueprint

from outsourced.server.api import files, leases, worker


def register(bp: Blueprint) -> None:
    """Adds the API's rules to the blueprint."""
    for part in (leases, files, worker):
        part.register(bp)
