"""Jobs enqueued in a Flask application, run by workers that need nothing but HTTPS to it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import outsourced.mapping  # noqa: F401 - tasks that every worker knows
from outsourced.app.base import Celery, current_app
from outsourced.callbacks import on_job_end
from outsourced.canvas import (
    Signature,
    chain,
    chord,
    chunks,
    group,
    maybe_signature,
    signature,
    xmap,
    xstarmap,
)
from outsourced.context import current_job, current_task
from outsourced.definition import shared_task, task
from outsourced.enqueueing import enqueue, enqueue_many, outsource, send_task
from outsourced.errors import (
    AuthenticationFailed,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    InvalidTransition,
    JobFailed,
    JobRevoked,
    KeyTaken,
    LeaseLost,
    MaxRetriesExceeded,
    MissingExtra,
    NotFound,
    NotHired,
    NotRegistered,
    OutsourcedError,
    OwnerFull,
    PayloadError,
    QueueBusy,
    QueueForbidden,
    QueueFull,
    ResultPruned,
    TaskAlreadyRegistered,
    UnknownQueue,
    WorkerLocked,
)
from outsourced.extras import server_extra
from outsourced.owned import HasJobs, jobs_of
from outsourced.records import Job
from outsourced.remotes import remote
from outsourced.results import AsyncResult
from outsourced.resultsets import GroupResult, ResultSet
from outsourced.tasks import Task
from outsourced.utils import uuid

__all__ = [
    "task",
    "shared_task",
    "Task",
    "remote",
    "enqueue",
    "outsource",
    "enqueue_many",
    "send_task",
    "uuid",
    "AsyncResult",
    "ResultSet",
    "GroupResult",
    "Signature",
    "signature",
    "maybe_signature",
    "chain",
    "group",
    "chord",
    "chunks",
    "xmap",
    "xstarmap",
    "Celery",
    "current_app",
    "Client",
    "Job",
    "jobs_of",
    "HasJobs",
    "on_job_end",
    "current_job",
    "current_task",
    "OutsourcedError",
    "AuthenticationFailed",
    "BackendError",
    "BackendUnavailable",
    "ConfigurationError",
    "InvalidTransition",
    "JobFailed",
    "JobRevoked",
    "KeyTaken",
    "LeaseLost",
    "MaxRetriesExceeded",
    "MissingExtra",
    "NotFound",
    "NotHired",
    "NotRegistered",
    "OwnerFull",
    "PayloadError",
    "QueueBusy",
    "QueueForbidden",
    "QueueFull",
    "ResultPruned",
    "TaskAlreadyRegistered",
    "UnknownQueue",
    "WorkerLocked",
]

if TYPE_CHECKING:
    from outsourced.http.client import Client as Client
    from outsourced.server.blueprint import bp as bp
    from outsourced.server.extension import Outsourced as Outsourced
    from outsourced.server.people import clients as clients
    from outsourced.server.people import queues as queues
    from outsourced.server.people import workers as workers
else:
    #: names that need Flask, and where they are: imported when first used (PEP 562)
    _SERVER_NAMES = {
        "bp": "outsourced.server.blueprint",
        "Outsourced": "outsourced.server.extension",
        "workers": "outsourced.server.people",
        "clients": "outsourced.server.people",
        "queues": "outsourced.server.people",
    }

    def __getattr__(name: str) -> Any:
        if name == "Client":  # the HTTP stack is for those who use it
            return importlib.import_module("outsourced.http.client").Client
        if name not in _SERVER_NAMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with server_extra(f"outsourced.{name}"):
            return getattr(importlib.import_module(_SERVER_NAMES[name]), name)
