"""A small Flask application that has Python files surveyed by workers elsewhere.

    flask --app examples/survey/app.py survey start FOLDER…

All it has to do with outsourced is the line with `register_blueprint` here, and the call that
enqueues in `producer.py`. Its `db` is its own.
"""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask

import outsourced
from database import db
from producer import survey

INSTANCE = Path(__file__).resolve().parent.parent.parent / "instance"


def create_app() -> Flask:
    """The application; its database and files are in `instance/`, or where the environment says."""
    app = Flask(__name__, instance_path=os.environ.get("SURVEY_INSTANCE", str(INSTANCE)))
    app.config["SECRET_KEY"] = os.environ.get("SECRET_KEY")
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ.get("DATABASE_URL", "sqlite:///survey.sqlite")
    db.init_app(app)
    app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
    app.cli.add_command(survey)

    @app.get("/")
    def index() -> str:
        return "The survey's server is up. `flask survey start FOLDER…` gives its workers something to do.\n"

    return app
