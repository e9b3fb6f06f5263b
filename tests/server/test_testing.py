"""A host's own tests: `MemoryBackend` stands in for the app's backend, in its views and around its tasks."""

from __future__ import annotations

from flask import Flask, current_app
from flask.testing import FlaskClient

import outsourced
from outsourced.server.services import Services
from outsourced.testing import MemoryBackend
from tests.server.loopback import on_one_database


@on_one_database
def test_view_enqueues_into_memory_and_drain_runs_in_the_app(
    host: Flask, client: FlaskClient, services: Services, forget_tasks: None
) -> None:
    @outsourced.task(name="whereabouts")
    def whereabouts() -> str:
        return current_app.name

    @host.post("/start")
    def start() -> dict[str, str]:
        return {"job": str(whereabouts.delay().id)}

    with MemoryBackend() as memory:
        answer = client.post("/start").get_json()
        (job,) = memory.drain(around=host.app_context)
    assert str(job.id) == answer["job"]
    assert job.result == '"host"'
    assert services.backend.jobs() == []
