"""The tables as SQLAlchemy models, to read with the host's session: `db.session.scalars(select(Job))`.

Writing goes through verbs, which also write the history. `include_name` is for a host that runs Alembic
without Flask-Migrate: `context.configure(…, include_name=outsourced.models.include_name)`.
"""

from __future__ import annotations

from outsourced.extras import server_extra

with server_extra("outsourced.models"):
    from outsourced.sql.autogenerate import include_name
    from outsourced.sql.models import Job, JobArgs, JobFile, JobResult, Queue, Transition, Worker

__all__ = ["Job", "JobArgs", "JobFile", "JobResult", "Queue", "Transition", "Worker", "include_name"]
