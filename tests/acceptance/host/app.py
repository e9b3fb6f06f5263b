"""The host app of a deployment, as a web server loads it: told all it needs by its environment."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask, current_app
from werkzeug.middleware.proxy_fix import ProxyFix

import outsourced


@outsourced.on_job_end("Order")
def note(job: outsourced.Job) -> None:
    """Adds a line for each job of an order that has ended."""
    folder = Path(current_app.instance_path)
    folder.mkdir(exist_ok=True)
    with (folder / "ends").open("a") as file:
        file.write(f"{job.id} {job.state} {job.result}\n")


def create_app() -> Flask:
    """A host app that serves the blueprint and nothing else."""
    app = Flask("host", instance_path=os.environ["HOST_INSTANCE"])
    app.config["SECRET_KEY"] = os.environ["HOST_SECRET_KEY"]
    app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_prefix=1)  # type: ignore[method-assign]
    return app
