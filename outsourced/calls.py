"""A call of a task, checked and made into a NewJob. Every way of enqueueing goes through `new_job`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast
from uuid import UUID, uuid5

from outsourced import clock, conf
from outsourced.attachments import Attachable, new_file
from outsourced.dates import DATES, MAX_DELAY, NO_DATES, DateOptions, Dates, dates
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
    """How one job is to be run; None stands for the task's own option, but for `max_retries`.

    The last ones are Celery's, accepted so that calls need not be rewritten.
    """

    queue: str | None
    priority: int | None
    task_id: str | UUID | None
    owner: Any
    attachment: Attachable | None
    max_retries: int | None
    max_losses: int | None
    unique_key: str | None
    time_limit: float | None  #: seconds, as the next
    soft_time_limit: float | None
    headers: Mapping[str, Any] | None
    ignore_result: bool | None
    shadow: str | None
    stamps: Mapping[str, Any] | None
    canvas: Mapping[str, Any] | None  #: where in a canvas it stands: `canvas.place`
    add_to_chord: bool | None  #: see `Task.add_to_chord`
    add_to_parent: bool | None
    serializer: str | None
    compression: str | None
    retry: bool | None
    retry_policy: Mapping[str, Any] | None
    routing_key: str | None
    exchange: str | None


class Extras(TypedDict, total=False):
    """What a producer says about running the job that only the task's process has to know."""

    time_limit: float
    soft_time_limit: float
    headers: Mapping[str, Any]
    ignore_result: bool
    shadow: str
    stamps: Mapping[str, Any]
    canvas: Mapping[str, Any]
    eta: str  #: ISO 8601


OPTIONS = frozenset(Options.__annotations__)
_CARRIED = ("time_limit", "soft_time_limit", "headers", "ignore_result", "shadow", "stamps", "canvas")


def new_job(
    task: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    options: Options,
    defaults: Options | None = None,
) -> NewJob:
    """The job; raises TypeError, ValueError or PayloadError, each naming the argument that is wrong."""
    given = _merged(options, defaults)
    _require_a_queue(given)
    given = _route(task, args, kwargs, given)
    when = dates(given) if DATES & given.keys() else NO_DATES
    return NewJob(
        id=job_id(given.get("task_id")),
        task=_name("the task's name", task),
        payload=encode_call(tuple(args), kwargs, _extras(given, when)),
        queue=_optional_name("queue", given.get("queue")),
        priority=_whole("priority", given.get("priority") or 0, low=-MAX_PRIORITY, high=MAX_PRIORITY),
        **when,
        owner=_owner(given.get("owner")),
        attachment=_attachment(given.get("attachment")),
        max_retries=_budget("max_retries", given.get("max_retries", 3)),
        max_losses=_budget("max_losses", given.get("max_losses", 3)) or 0,
        unique_key=_optional_name("unique_key", given.get("unique_key")),
        add_to_chord=bool(given.get("add_to_chord")),
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
    if options.get("expires_at") is not None and options.get("expires") is None:
        given.pop("expires", None)  # the task's own
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


def _extras(given: Options, when: Dates) -> Extras:
    found: dict[str, Any] = {name: value for name in _CARRIED if (value := given.get(name)) is not None}
    for name in found.keys() & {"time_limit", "soft_time_limit"}:
        limit(name, found[name])
    require_soft_first(found.get("soft_time_limit"), found.get("time_limit"))
    if not isinstance(found.get("headers", {}), Mapping):
        raise TypeError(f"headers is a mapping, not {found['headers']!r}")
    starts = when["runs_at"] or (when["runs_in"] and clock.now() + when["runs_in"])
    if starts and not (when["repeats_after_fail"] or when["repeats_after_complete"]):
        found["eta"] = starts.isoformat()
    return cast(Extras, found)


def limit(name: str, value: float) -> float:
    """The seconds of a time limit; raises TypeError or ValueError naming it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number of seconds, not {value!r}")
    if not 0 < value <= MAX_DELAY:
        raise ValueError(f"{name}={value} is out of range")
    return value


def require_soft_first(soft: float | None, hard: float | None) -> None:
    """Raises ValueError where the soft limit would never come."""
    if soft is not None and hard is not None and soft > hard:
        raise ValueError("soft_time_limit must be less than or equal to time_limit")


def _require_a_queue(given: Options) -> None:
    """A routing key says to a broker where a message goes; nobody here could tell which queue it means."""
    for name in ("routing_key", "exchange"):
        if given.get(name) and not given.get("queue"):
            raise ValueError(f"{name}={given.get(name)!r} routes nothing here: name the queue by queue=")


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
