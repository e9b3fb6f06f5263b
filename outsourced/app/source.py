"""Where the settings of an app come from: a mapping, an object, a module, or the name of one."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from outsourced.errors import ConfigurationError


def settings_of(source: Any, namespace: str | None = None) -> dict[str, Any]:
    """The settings; with a namespace those that begin with it, without it.

    Raises ConfigurationError for a name that leads nowhere.
    """
    found = _named(source) if isinstance(source, str) else source
    values = (
        dict(found)
        if isinstance(found, Mapping)
        else {name: getattr(found, name) for name in dir(found) if not name.startswith("_")}
    )
    if not namespace:
        return values
    prefix = f"{namespace.rstrip('_')}_"
    return {
        name[len(prefix) :].lower(): value
        for name, value in values.items()
        if name.upper().startswith(prefix.upper())
    }


def _named(name: str) -> Any:
    """The module of this name, or what `module:attribute` and `module.attribute` name in one."""
    module, colon, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute) if colon else importlib.import_module(name)
    except ModuleNotFoundError as error:
        parent, _, last = name.rpartition(".")
        if colon or not parent or error.name != name:
            raise ConfigurationError(f"config_from_object({name!r}): {error}") from error
        return _named(f"{parent}:{last}")
    except AttributeError as error:
        raise ConfigurationError(f"config_from_object({name!r}): {error}") from error
