"""The application's own database object: outsourced has one of its own, beside it."""

from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()
