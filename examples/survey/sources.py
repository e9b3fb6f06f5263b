"""Which files are surveyed."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

#: folders of installed packages, which lie inside the standard library's folder
SITE = {"site-packages", "dist-packages"}


@dataclass(frozen=True, slots=True)
class Source:
    """A file to survey, and what to call it."""

    path: Path
    name: str


def python_files(folders: Iterable[Path]) -> list[Source]:
    """Every Python file below the folders, each once; by name."""
    found = {
        path.resolve(): Source(path, f"{folder.name}/{path.relative_to(folder)}")
        for folder in map(Path.resolve, folders)
        for path in _below(folder, skip=set())
    }
    return sorted(found.values(), key=lambda source: source.name)


def installed_files() -> list[Source]:
    """The Python files of the standard library, and of the packages installed beside us."""
    library = Path(sysconfig.get_path("stdlib")).resolve()
    packages = Path(sysconfig.get_path("purelib")).resolve()
    return [Source(path, str(path.relative_to(library))) for path in _below(library, skip=SITE)] + [
        Source(path, str(path.relative_to(packages))) for path in _below(packages, skip=set())
    ]


def _below(folder: Path, *, skip: set[str]) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if name not in skip and name != "__pycache__" and not name.startswith(".")
        )
        for name in sorted(names):
            path = Path(parent, name)
            if name.endswith(".py") and path.is_file():
                yield path
