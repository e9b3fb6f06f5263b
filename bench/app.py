"""The benchmark's server: a Flask app with nothing but the blueprint."""

from __future__ import annotations

import os

from flask import Flask

import outsourced
from bench import tasks as _tasks  # noqa: F401 - registers them


def create_app() -> Flask:
    app = Flask(__name__, instance_path=os.environ["BENCH_INSTANCE"])
    app.config["SECRET_KEY"] = "bench"
    app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
    return app
