"""A call of a task, checked and made into a NewJob. Every way of enqueueing goes through `new_job`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5

from outsourced import conf
from outsourced.attachments import Attachable, new_file
from outsourced.dates import DATES, NO_DATES, DateOptions, dates
from outsourced.errors import PayloadError
from outsourced.owners import owner_of
from outsourced.payload import encode_call
from outsourced.records import NewFile, NewJob, Owner
from outsourced.routes import route

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid6 import uuid7

#: in which a `task_id` that is no UUID becomes one; never to change
TASK_ID_NAMESPACE = UUID("6f75d3c1-52a5-5f0e-9d0b-6f7574737263")
#: characters of a name, a key, an id
MAX_NAME = 255
#: priorities fit a 16-bit column
MAX_PRIORITY = 2**15 - 1
#: retries and losses fit a 32-bit column
MAX_BUDGET = 2**31 - 1


class Options(DateOptions, total=False):
    """How one job is to be run; None stands for the task's own option, but for `max_retries`."""

    queue: str | None
    priority: int | None
    task_id: str | UUID | None
    owner: Any
    attachment: Attachable | None
    max_retries: int | None
    max_losses: int | None
    unique_key: str | None


OPTIONS = frozenset(Options.__annotations__)


def new_job(
    task: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    options: Options,
    defaults: Options | None = None,
) -> NewJob:
    """The job; raises TypeError, ValueError or PayloadError, each naming the argument that is wrong."""
    given = _route(task, args, kwargs, _merged(options, defaults))
    return NewJob(
        id=job_id(given.get("task_id")),
        task=_name("the task's name", task),
        payload=encode_call(tuple(args), kwargs),
        queue=_optional_name("queue", given.get("queue")),
        priority=_whole("priority", given.get("priority") or 0, low=-MAX_PRIORITY, high=MAX_PRIORITY),
        **(dates(given) if DATES & given.keys() else NO_DATES),
        owner=_owner(given.get("owner")),
        attachment=_attachment(given.get("attachment")),
        max_retries=_budget("max_retries", given.get("max_retries", 3)),
        max_losses=_budget("max_losses", given.get("max_losses", 3)) or 0,
        unique_key=_optional_name("unique_key", given.get("unique_key")),
    )


def _merged(options: Options, defaults: Options | None) -> Options:
    given: Options = defaults.copy() if defaults is not None else {}
    for name, value in options.items():
        if name not in OPTIONS:
            raise TypeError(
                f"{name!r} is no option (options: {', '.join(sorted(OPTIONS))}); "
                f"keyword arguments of the task go into kwargs={{{name!r}: …}}"
            )
        if value is not None or name == "max_retries":
            given[name] = value  # type: ignore[literal-required]
    return given


def _route(task: str, args: Sequence[Any], kwargs: Mapping[str, Any], given: Options) -> Options:
    """The options, with queue and priority from the app's settings where they say nothing."""
    settings = conf.in_force()
    found = route(settings["task_routes"], task, args, kwargs, given)
    for name in ("queue", "priority"):
        if given.get(name) is None:
            chosen = found.get(name)
            given[name] = settings[f"task_default_{name}"] if chosen is None else chosen
    return given


def job_id(task_id: str | UUID | None) -> UUID:
    """The job's id: a new one for None, and for text that is no UUID always the same one."""
    if task_id is None:
        return UUID(int=uuid7().int)  # a plain UUID: JSON and database drivers go by the exact type
    if type(task_id) is UUID:
        return task_id
    if isinstance(task_id, UUID):
        return UUID(int=task_id.int)
    try:
        return UUID(_name("task_id", task_id))
    except ValueError as error:
        if isinstance(error, PayloadError):
            raise
        return uuid5(TASK_ID_NAMESPACE, task_id)


def _owner(thing: Any) -> Owner | None:
    if thing is None:
        return None
    owner = owner_of(thing)
    return Owner(type=_name("the owner's type", owner.type), id=_name("the owner's id", owner.id))


def _attachment(source: Attachable | None) -> NewFile | None:
    if source is None:
        return None
    file = new_file(source)
    _name("the attachment's filename", file.filename)
    return file


def _optional_name(what: str, value: str | None) -> str | None:
    return None if value is None else _name(what, value)


def _name(what: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} is text, not {value!r}")
    if not 0 < len(value) <= MAX_NAME or "\x00" in value or not _is_encodable(value):
        raise PayloadError(
            f"{what} must be 1 to {MAX_NAME} characters without NUL or surrogates: {value!r:.80}"
        )
    return value


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _budget(name: str, value: int | None) -> int | None:
    return None if value is None else _whole(name, value, low=0, high=MAX_BUDGET)


def _whole(name: str, value: int, *, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a whole number, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name}={value} is out of range: {low} to {high}")
    return value
