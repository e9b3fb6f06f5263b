"""The configuration file of an account elsewhere: its key or secret in it, readable by nobody else."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from joserfc.jwk import ECKey

from outsourced.errors import AlreadyExists, ConfigurationError

#: read and written by their owner alone
PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A fresh ES256 key pair."""

    key: ECKey

    @classmethod
    def fresh(cls) -> KeyPair:
        return cls(ECKey.generate_key("P-256"))

    @property
    def public_jwk(self) -> dict[str, Any]:
        return dict(self.key.as_dict(private=False))

    @property
    def pem(self) -> str:
        """The private half, as PKCS #8."""
        return self.key.as_pem(private=True).decode()

    @property
    def kid(self) -> str:
        """The RFC 7638 thumbprint, which is the key's id at the server too."""
        return self.key.thumbprint()


class _Block(str):
    """Text that YAML shows line by line."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """A SafeDumper that knows _Block."""


_Dumper.add_representer(
    _Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
)


def render(settings: Mapping[str, Any], reader: str) -> str:
    """The file's text; `reader` is what reads it."""
    shown = {
        name: _Block(value) if isinstance(value, str) and "\n" in value else value
        for name, value in settings.items()
    }
    body = yaml.dump(shown, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return f"# Configuration of {reader}. It holds a secret: keep it readable by its owner alone.\n{body}"


def write(path: Path, text: str, *, force: bool, commit: Callable[[], object]) -> None:
    """Writes the file, mode 0600 from the start, then runs `commit`; leaves nothing new if that fails.

    Raises AlreadyExists where there is such a file, unless forced to replace it, and then it is
    replaced in one step.
    """
    try:
        target = _beside(path) if force else path
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    except FileExistsError as error:
        raise AlreadyExists(
            f"{path} exists already: choose another file, or add --force to replace it"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        commit()
        if target != path:
            os.replace(target, path)
    except BaseException:
        with suppress(FileNotFoundError):
            target.unlink()
        raise


def _beside(path: Path) -> Path:
    """A name in the same folder that nobody uses."""
    return path.with_name(f".{path.name}.{uuid4().hex}")
