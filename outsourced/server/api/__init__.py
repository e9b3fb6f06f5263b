"""The API of workers (exchange, files, who am I) and of producers (jobs); docs/protocol.md has it."""

from __future__ import annotations

from flask import Blueprint

from outsourced.server.api import files, jobs, leases, openapi, owners, worker


def register(bp: Blueprint) -> None:
    """Adds the API's rules to the blueprint."""
    for part in (leases, files, worker, jobs, owners, openapi):
        part.register(bp)
