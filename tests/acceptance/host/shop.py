"""A host app with habits: a factory, models and migrations of its own, CSRF protection, a table it hides."""

from __future__ import annotations

import os
import threading
from typing import Any

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFProtect  # type: ignore[import-untyped]
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import outsourced


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)
migrate = Migrate()
csrf = CSRFProtect()


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@outsourced.task(name="greet")
def greet(name: str) -> str:
    return f"hello {name}"


def hide_old_tables(name: str | None, kind: str, parents: object) -> bool:
    return kind != "table" or not (name or "").startswith("old_")


def threads() -> dict[str, Any]:
    return {"pid": os.getpid(), "names": [thread.name for thread in threading.enumerate()]}


def create_app() -> Flask:
    """HOST_HABITS says in which order it sets itself up, and whether it filters names."""
    habits = os.environ.get("HOST_HABITS", "").split()
    options: dict[str, Any] = {"include_name": hide_old_tables} if "filter" in habits else {}
    app = Flask("shop", instance_path=os.environ["HOST_INSTANCE"])
    app.config.update(
        SECRET_KEY="a secret of the shop", SQLALCHEMY_DATABASE_URI=os.environ["HOST_DATABASE_URL"]
    )
    db.init_app(app)
    csrf.init_app(app)
    if "migrate-first" in habits:
        Migrate(app, db, **options)
    app.register_blueprint(outsourced.bp, url_prefix="/outsourced")
    if "migrate-last" in habits:
        Migrate(app, db, **options)
    if "factory" in habits:
        migrate.init_app(app, db, **options)
    app.add_url_rule("/greet/<name>", view_func=lambda name: {"id": str(greet.delay(name).id)})
    app.add_url_rule("/threads", view_func=threads)
    app.add_url_rule("/form", view_func=lambda: "sent", methods=["POST"], endpoint="form")
    return app
