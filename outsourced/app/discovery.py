"""Importing the modules an app's tasks are in."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec

#: packages, or a function that gives them when the time has come
Packages = Iterable[str] | Callable[[], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Discovery:
    """One call of `autodiscover_tasks`."""

    packages: Packages
    related_name: str | None

    def run(self) -> None:
        """Imports each package, and the module of that name in it where there is one."""
        for package in self.packages() if callable(self.packages) else self.packages:
            importlib.import_module(package)
            if self.related_name:
                related = f"{package}.{self.related_name}"
                if _is_package(package) and find_spec(related) is not None:
                    importlib.import_module(related)


def _is_package(name: str) -> bool:
    return hasattr(importlib.import_module(name), "__path__")
