"""The host app of a deployment, as a web server loads it: told all it needs by its environment."""

from __future__ import annotations

import os

from flask import Flask

import outsourced


def create_app() -> Flask:
    """A host app that serves the blueprint and nothing else."""
    app = Flask("host", instance_path=os.environ["HOST_INSTANCE"])
    app.config["SECRET_KEY"] = os.environ["HOST_SECRET_KEY"]
    app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
    return app
