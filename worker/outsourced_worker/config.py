"""The worker's settings: option, then environment, then file; checked once, then frozen."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import platformdirs
import yaml

from outsourced.errors import ConfigurationError
from outsourced.http.token import load_key
from outsourced.http.transport import check_url
from outsourced.secret_file import check_access
from outsourced_worker.pools.choice import POOLS, PoolName

FILE_NAME = "outsourced.yml"
PREFIX = "OUTSOURCED_"

_NEEDED = ("url", "worker", "audience", "key_id", "private_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Everything a worker process is told."""

    url: str  #: of the server, the blueprint's prefix included
    worker: str  #: this worker's name at the server
    audience: str  #: the installation's id
    key_id: str
    private_key: str = field(repr=False)  #: PEM
    include: tuple[str, ...] = ()  #: modules that define tasks
    concurrency: int = field(default_factory=lambda: os.cpu_count() or 1)
    pool: PoolName = "processes"
    max_tasks_per_child: int | None = None  #: jobs after which a slot process is replaced
    max_memory_per_child: int | None = None  #: KiB likewise
    poll_wait: float = 25.0  #: seconds a poll may park
    ca_bundle: str | None = None
    proxy: str | None = None
    method_override: bool = False  #: for filters that block PUT
    instance_name: str | None = None  #: shown as this process's host


def load_config(
    file: Path | None, environment: Mapping[str, str], options: Mapping[str, Any]
) -> tuple[WorkerConfig, list[str]]:
    """The configuration and what to warn about; raises ConfigurationError that says what to change."""
    path = file or find_file(environment)
    warnings = check_access(path) if path else []
    values = read_file(path) if path else {}
    values |= _from_environment(environment)
    values |= {key: value for key, value in options.items() if value not in (None, ())}
    return build(values, source=str(path or "the environment")), warnings


def find_file(environment: Mapping[str, str]) -> Path | None:
    """The first configuration file there is; None where the environment may have it all."""
    named = environment.get("OUTSOURCED_CONFIG")
    if named:
        return Path(named)
    return next((path for path in places() if path.is_file()), None)


def places() -> list[Path]:
    """Where a configuration file is looked for, in this order."""
    return [Path(FILE_NAME), user_file(), Path(platformdirs.site_config_dir("outsourced")) / FILE_NAME]


def user_file() -> Path:
    """The user's own configuration file."""
    return Path(platformdirs.user_config_dir("outsourced")) / FILE_NAME


def read_file(path: Path) -> dict[str, Any]:
    """The file's settings; raises ConfigurationError where it is not a YAML mapping of known keys."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no file {path}: make one on the server with "
            f"`flask outsourcer worker config -o {path.name} NAME` and copy it here"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not valid YAML: {_one_line(error)}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} must hold settings as `name: value` lines, one of them `url:`")
    return {str(key): value for key, value in content.items() if value is not None}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    names = {item.name for item in fields(WorkerConfig)} | {"private_key_file"}
    found: dict[str, Any] = {}
    for name in names:
        value = environment.get(PREFIX + name.upper())
        if value:
            found[name] = value.replace(",", " ").split() if name == "include" else value
    return found


def build(values: Mapping[str, Any], *, source: str) -> WorkerConfig:
    """A checked configuration from settings of any origin."""
    settings = dict(values)
    key_file = settings.pop("private_key_file", None)
    if key_file and "private_key" not in values:
        settings["private_key"] = _read_key(Path(str(key_file)))
    if not any(settings.get(name) for name in _NEEDED):
        raise ConfigurationError(_nothing_found())
    _check_names(settings, source)
    settings["include"] = _modules(settings.get("include", ()), source)
    for name, convert in _CONVERTED.items():
        if settings.get(name) is not None:
            settings[name] = convert(settings[name], name)
    if settings.get("pool") == "prefork":  # Celery's name
        settings["pool"] = "processes"
    if settings.get("pool", "processes") not in POOLS:
        raise ConfigurationError(f"pool must be one of {', '.join(POOLS)}, not {settings['pool']!r}")
    texts = {name: str(settings[name]) for name in _NEEDED}
    check_url(texts["url"])
    load_key(texts["private_key"])
    return WorkerConfig(**(settings | texts))


def _nothing_found() -> str:
    looked = "".join(f"\n  {path}" for path in places())
    return (
        f"no configuration found. Looked at $OUTSOURCED_CONFIG and{looked}\n"
        "Make one on the server with `flask outsourcer worker config -o outsourced.yml NAME`, copy it here "
        "and run `outsourced_worker outsourced.yml` (or `outsourced_worker --install outsourced.yml` once)"
    )


def _check_names(settings: Mapping[str, Any], source: str) -> None:
    missing = [name for name in _NEEDED if not settings.get(name)]
    if missing:
        raise ConfigurationError(
            f"{source} lacks {', '.join(missing)}: write it anew on the server with "
            "`flask outsourcer worker config -o FILE NAME`"
        )
    known = {item.name for item in fields(WorkerConfig)}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise ConfigurationError(
            f"{source} has the unknown setting {unknown[0]!r}; known are {', '.join(sorted(known))}"
        )


def _read_key(path: Path) -> str:
    warnings = check_access(path)
    try:
        key = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"private_key_file {path} cannot be read: {error}{' '.join(warnings)}"
        ) from error
    return key


def _modules(value: Any, source: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(
            f"include in {source} must be a list of module names, such as [myapp_tasks.tasks]"
        )
    return tuple(dict.fromkeys(names))


def _positive(value: Any, name: str) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise ConfigurationError(f"{name} must be a whole number from 1, not {value!r}")
    return number


def _seconds(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number <= 60:
        raise ConfigurationError(f"{name} must be seconds above 0 and up to 60, not {value!r}")
    return number


def _flag(value: Any, name: str) -> bool:
    flags = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        return flags[str(value).lower()]
    except KeyError:
        raise ConfigurationError(f"{name} must be true or false, not {value!r}") from None


_CONVERTED: dict[str, Callable[[Any, str], Any]] = {
    "concurrency": _positive,
    "max_tasks_per_child": _positive,
    "max_memory_per_child": _positive,
    "poll_wait": _seconds,
    "method_override": _flag,
}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
