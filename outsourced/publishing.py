"""The signals around enqueueing: `before_task_publish` and `after_task_publish`.

What a receiver of the first adds to `headers` travels with the job, and is in the task's request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outsourced.calls import Options, job_id
from outsourced.context import current_call, hostname
from outsourced.payload import decode_call
from outsourced.records import NewJob
from outsourced.signals import after_task_publish, before_task_publish

#: what every message of Celery has in its headers
STANDARD = (
    "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit",
    "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "stamped_headers", "stamps",
)  # fmt: skip


def announce(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Options) -> Options:
    """Tells that a call is about to be enqueued; gives the options, with the headers that were added."""
    if not before_task_publish.receivers:
        return options
    options = options.copy()
    options["task_id"] = options.get("task_id") or str(job_id(None))
    headers = _headers(name, args, kwargs, options)
    queue = options.get("queue") or ""
    before_task_publish.send(
        name,
        body=(tuple(args), dict(kwargs), dict(_NO_LINKS)),
        exchange="",
        routing_key=queue,
        headers=headers,
        properties={"correlation_id": headers["id"]},
        declare=[],
        retry_policy=None,
    )
    options["headers"] = {key: value for key, value in headers.items() if key not in STANDARD} or None
    return options


def tell(jobs: Sequence[NewJob]) -> None:
    """Tells that these jobs have been enqueued."""
    if not after_task_publish.receivers:
        return
    for job in jobs:
        args, kwargs, extras = decode_call(job.payload)
        options = Options(task_id=str(job.id), **{key: extras.get(key) for key in _CARRIED})  # type: ignore[typeddict-item]
        after_task_publish.send(
            job.task,
            body=(tuple(args), kwargs, dict(_NO_LINKS)),
            exchange="",
            routing_key=job.queue or "",
            headers=_headers(job.task, args, kwargs, options) | {"eta": extras.get("eta")},
        )


_NO_LINKS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_CARRIED = ("headers", "time_limit", "soft_time_limit", "ignore_result", "shadow")


def _headers(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Options) -> dict[str, Any]:
    call = current_call()
    parent = call.request if call is not None else None
    task_id = str(options.get("task_id"))
    return dict.fromkeys(STANDARD) | {
        "lang": "py",
        "task": name,
        "id": task_id,
        "shadow": options.get("shadow"),
        "eta": options.get("eta"),
        "expires": options.get("expires"),
        "retries": 0,
        "timelimit": [options.get("time_limit"), options.get("soft_time_limit")],
        "root_id": task_id if parent is None else parent.root_id or task_id,
        "parent_id": None if parent is None else parent.id,
        "argsrepr": repr(tuple(args)),
        "kwargsrepr": repr(dict(kwargs)),
        "origin": hostname(),
        "ignore_result": bool(options.get("ignore_result")),
        "stamps": {},
        **(options.get("headers") or {}),
    }
