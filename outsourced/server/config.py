"""The configuration of one Flask app, read once: `OUTSOURCED_*` of app.config, then of the environment.

app.config wins: the host's code has the last word. Nothing else in the server reads either of them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from outsourced.errors import ConfigurationError
from outsourced.schedules import parse, zone_named
from outsourced.sql.retention import RETENTION, Retention

T = TypeVar("T")

PREFIX = "OUTSOURCED_"

#: how long a lease holds without word from its worker
LEASE_TTL = timedelta(seconds=60)
#: how often a worker renews its leases
HEARTBEAT_INTERVAL = timedelta(seconds=20)
#: how often the slower duties run: rescue, expire, prune
JANITOR_INTERVAL = timedelta(seconds=5)
#: how often due jobs are promoted
PROMOTE_INTERVAL = timedelta(seconds=0.5)
#: the longest a poll may park
POLL_WAIT = timedelta(seconds=25)
#: parked polls a process, where the server has threads and nothing is configured
MAX_WAITERS = 4
#: requests a minute to the OAuth endpoints, of one worker from one address, a process
TOKEN_RATE = 300
#: bytes of a request's body, files aside
MAX_BODY = 32 * 1024 * 1024
#: bytes of an attachment or a result file
MAX_ATTACHMENT = 1024 * 1024 * 1024

_UNITS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")


@dataclass(frozen=True, slots=True)
class Sendfile:
    """How the web server before us is told to send a file of the storage folder."""

    header: str
    folder: Path  #: of the storage
    prefix: str  #: what it knows that folder as

    def place(self, path: Path | None) -> str:
        """The header's value for this file."""
        assert path is not None  # only files of a folder are sent so
        return f"{self.prefix}/{path.relative_to(self.folder)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The configuration in force, validated."""

    database_url: str
    database_is_the_hosts: bool  #: it came from SQLALCHEMY_DATABASE_URI, not from a setting of ours
    storage: Path | str  #: a folder, or a URL for fsspec
    sendfile: Sendfile | None = None  #: None: we send files ourselves
    url: str | None = None  #: where workers reach us, prefix included; None: what `init` stored
    lease_ttl: timedelta = LEASE_TTL
    heartbeat_interval: timedelta = HEARTBEAT_INTERVAL
    janitor_interval: timedelta = JANITOR_INTERVAL
    promote_interval: timedelta = PROMOTE_INTERVAL
    poll_wait: timedelta = POLL_WAIT
    max_waiters: int | None = None  #: None: 0 without threads, else MAX_WAITERS
    token_rate: int = TOKEN_RATE  #: 0: no limit
    max_body: int = MAX_BODY
    max_attachment: int = MAX_ATTACHMENT
    retention: Retention = RETENTION
    task_default_queue: str | None = None  #: None: the queue marked default in the database
    owner_limits: Mapping[str, int] = field(default_factory=dict)  #: live jobs an owner of a type may have
    beat_schedule: Mapping[str, Any] | None = None  #: what recurs, as in Celery; None: as the Celery app says
    timezone: str = "UTC"  #: of crontabs, and of a naive `eta`
    include: tuple[str, ...] = ()  #: modules of tasks and job classes, imported when the app is set up
    signing_key: str | None = None  #: PEM or JWK; None: the one `init` stored
    task_always_eager: bool = False  #: `delay` runs the task here and now
    task_eager_propagates: bool = False  #: and what it raises is raised by the call


def load(app: Flask) -> Settings:
    """The settings of this app; raises ConfigurationError that names the key and what it may be."""
    given = _Given(app.config, os.environ)
    database_url, database_is_the_hosts = _database_url(app, given)
    folder: Path | str = Path(app.instance_path) / "outsourced"
    storage = given.read("STORAGE", _place, folder)
    settings = Settings(
        database_url=database_url,
        database_is_the_hosts=database_is_the_hosts,
        storage=storage,
        sendfile=given.read("SENDFILE", partial(_sendfile, storage=storage), None),
        url=given.read("URL", installation_url, None),
        lease_ttl=given.read("LEASE_TTL", _duration, LEASE_TTL),
        heartbeat_interval=given.read("HEARTBEAT_INTERVAL", _duration, HEARTBEAT_INTERVAL),
        janitor_interval=given.read("JANITOR_INTERVAL", _duration, JANITOR_INTERVAL),
        promote_interval=given.read("PROMOTE_INTERVAL", _duration, PROMOTE_INTERVAL),
        poll_wait=given.read("POLL_WAIT", _duration, POLL_WAIT),
        max_waiters=given.read("MAX_WAITERS", _count, None),
        token_rate=given.read("TOKEN_RATE", _count, TOKEN_RATE),
        max_body=given.read("MAX_BODY", _count, MAX_BODY),
        max_attachment=given.read("MAX_ATTACHMENT", _count, MAX_ATTACHMENT),
        retention=given.read("RETENTION", _retention, RETENTION),
        task_default_queue=given.read("TASK_DEFAULT_QUEUE", _name, None),
        owner_limits=given.read("OWNER_LIMITS", _limits, {}),
        beat_schedule=given.read("BEAT_SCHEDULE", _beat_schedule, None),
        timezone=given.read("TIMEZONE", _timezone, "UTC"),
        include=given.read("INCLUDE", _modules, ()),
        signing_key=_signing_key(given),
        task_always_eager=given.read("TASK_ALWAYS_EAGER", _switch, False),
        task_eager_propagates=given.read("TASK_EAGER_PROPAGATES", _switch, False),
    )
    if settings.heartbeat_interval * 2 > settings.lease_ttl:
        raise ConfigurationError(
            "OUTSOURCED_LEASE_TTL must be at least twice OUTSOURCED_HEARTBEAT_INTERVAL, "
            "or one late heartbeat costs a worker its leases"
        )
    return settings


class _Given:
    """What was configured, wherever: app.config first, then the environment."""

    def __init__(self, config: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._config, self._environment = config, environment

    def raw(self, name: str) -> Any:
        value = self._config.get(PREFIX + name)
        return self._environment.get(PREFIX + name) if value is None else value

    def read(self, name: str, parse: Callable[[Any], T], default: T) -> T:
        value = self.raw(name)
        if value is None or value == "":
            return default
        try:
            return parse(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise ConfigurationError(f"{PREFIX}{name} is {value!r}: {error}") from error


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        duration = value
    else:
        match = _DURATION.fullmatch(str(value).strip().lower())
        if match is None:
            raise ValueError("expected seconds, a timedelta, or a text like '500ms', '30s', '5m', '1h', '7d'")
        duration = timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    if duration <= timedelta():
        raise ValueError("expected a duration above zero")
    return duration


def _modules(value: Any) -> tuple[str, ...]:
    names = value.replace(",", " ").split() if isinstance(value, str) else list(value)
    if not all(isinstance(name, str) and name for name in names):
        raise ValueError("expected names of modules")
    return tuple(names)


def _count(value: Any) -> int:
    if isinstance(value, (bool, float)) or not re.fullmatch(r"\d+", str(value).strip()):
        raise ValueError("expected a whole number, zero or more")
    return int(value)


def _switch(value: Any) -> bool:
    found = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(
        str(value).lower()
    )
    if found is None:
        raise ValueError("expected true or false")
    return found


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 255:
        raise ValueError("expected a name of at most 255 characters")
    return value


def installation_url(value: Any) -> str:
    """The URL under which workers reach this server, without a slash at the end; raises ValueError."""
    parts = urlsplit(str(value))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("expected the address of the blueprint, like https://app.example.com/outsourced")
    return str(value).rstrip("/")


def _place(value: Any) -> Path | str:
    text = str(os.fspath(value))
    if "://" in text and not text.startswith("file://"):
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#:]+(/[^?#]*)?", text):
            raise ValueError("expected the URL of a place, like s3://bucket/folder")
        return text
    path = Path(text.removeprefix("file://"))
    if not path.is_absolute():
        raise ValueError("expected an absolute path, or a URL like s3://bucket/folder")
    return path


def _sendfile(value: Any, *, storage: Path | str) -> Sendfile:
    if isinstance(storage, str):
        raise ValueError("a web server sends files of a folder, and OUTSOURCED_STORAGE is a URL")
    header, _, prefix = str(value).partition(":")
    header, prefix = header.strip().lower(), prefix.strip().rstrip("/")
    if header == "x-sendfile" and not prefix:
        return Sendfile("X-Sendfile", storage, str(storage))
    if header == "x-accel-redirect" and prefix.startswith("/"):
        return Sendfile("X-Accel-Redirect", storage, prefix)
    raise ValueError(
        "expected X-Sendfile, or X-Accel-Redirect:/prefix with the prefix of an internal location"
    )


def _retention(value: Any) -> Retention:
    pairs = value
    if isinstance(value, str):
        pairs = dict(part.strip().split("=", 1) for part in value.split(",") if "=" in part)
    if not isinstance(pairs, Mapping) or not pairs or not pairs.keys() <= {"completed", "failed", "results"}:
        raise ValueError(
            "expected any of completed, failed and results, as a dict or like 'completed=7d,failed=90d'"
        )
    return Retention(**{kind: _duration(age) for kind, age in pairs.items()})


def _limits(value: Any) -> dict[str, int]:
    pairs = value
    if isinstance(value, str):
        pairs = dict(part.strip().split("=", 1) for part in value.split(",") if "=" in part)
    if not isinstance(pairs, Mapping) or not pairs or not all(pairs):
        raise ValueError(
            "expected numbers of live jobs by types of owners, as a dict or like 'User=100,Order=5'"
        )
    return {str(owner_type): _count(number) for owner_type, number in pairs.items()}


def _beat_schedule(value: Any) -> dict[str, Any]:
    entries = json.loads(value) if isinstance(value, str) else value
    if not isinstance(entries, Mapping) or not all(isinstance(entry, Mapping) for entry in entries.values()):
        raise ValueError(
            "expected entries with task and schedule by name, as a dict, or as JSON "
            """like '{"nightly": {"task": "t", "schedule": "0 3 * * *"}}'"""
        )
    # JSON has no crontab
    texts = {
        name: entry["schedule"] for name, entry in entries.items() if isinstance(entry.get("schedule"), str)
    }
    return {**entries, **{name: {**entries[name], "schedule": parse(text)} for name, text in texts.items()}}


def _timezone(value: Any) -> str:
    zone_named(str(value))
    return str(value)


def _signing_key(given: _Given) -> str | None:
    key, path = given.raw("SIGNING_KEY"), given.raw("SIGNING_KEY_FILE")
    if key or not path:
        return key or None
    try:
        return Path(path).read_text()
    except OSError as error:
        raise ConfigurationError(f"OUTSOURCED_SIGNING_KEY_FILE cannot be read: {error}") from error


def _database_url(app: Flask, given: _Given) -> tuple[str, bool]:
    ours, hosts = given.raw("DATABASE_URL"), app.config.get("SQLALCHEMY_DATABASE_URI")
    chosen = ours or hosts or "sqlite:///outsourced.sqlite3"
    try:
        url = make_url(chosen)
    except ArgumentError as error:
        key = "OUTSOURCED_DATABASE_URL" if ours else "SQLALCHEMY_DATABASE_URI"
        raise ConfigurationError(f"{key} is no database URL: {error}") from error
    if url.get_backend_name() == "sqlite" and not is_in_memory(url):
        url = _in_instance_folder(url, Path(app.instance_path))
    return url.render_as_string(hide_password=False), not ours and bool(hosts)


def is_in_memory(url: URL) -> bool:
    """Whether this is a SQLite database without a file."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def _in_instance_folder(url: URL, folder: Path) -> URL:
    """The URL with a relative path made absolute, as Flask-SQLAlchemy does it; creates the folder."""
    scheme = "file:" if "uri" in url.query else ""
    path = Path((url.database or "").removeprefix(scheme))
    if path.is_absolute():
        return url
    folder.mkdir(parents=True, exist_ok=True)
    return url.set(database=scheme + str(folder / path))
