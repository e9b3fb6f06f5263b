"""The configuration file of an account elsewhere: its key or secret in it, readable by nobody else."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import uuid4

import yaml
from joserfc.jwk import ECKey

from outsourced.errors import AlreadyExists, ConfigurationError
from outsourced.registry import registry
from outsourced.server import portable
from outsourced.server.services import Services
from outsourced.sql import clients, installation, workers

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A file's text with a fresh credential, which is good once `commit` has told the server of it."""

    url: str
    text: str
    commit: Callable[[], str]  #: gives the credential's id


def for_worker(
    services: Services,
    name: str,
    *,
    include: Sequence[str],
    actor: str,
    left_out: Mapping[str, str] = MappingProxyType({}),
) -> Draft:
    """What `outsourced_worker` reads: address, a fresh private key, the modules with its tasks.

    `left_out` are modules that it could not import, each with the reason: a comment in the file.
    Raises ConfigurationError where this server does not know its own address.
    """
    pair = KeyPair.fresh()
    settings = _address(services) | {
        "worker": name,
        "audience": _audience(services),
        "key_id": pair.kid,
        "private_key": pair.pem,
        "include": list(include),
    }
    return Draft(
        url=settings["url"],
        text=_render(settings, "outsourced_worker") + _told(left_out),
        commit=lambda: workers.add_credential(services.backend, name, pair.public_jwk, actor=actor),
    )


def for_client(services: Services, name: str, *, secret: bool, actor: str) -> Draft:
    """What `outsourced.Client` reads: address, and a fresh private key or `secret`; raises likewise."""
    settings = _address(services) | {"client": name, "audience": _audience(services)}
    if secret:
        text = secrets.token_urlsafe(32)
        settings |= {"secret": text}

        def commit() -> str:
            return clients.add_secret(services.backend, name, text, actor=actor)
    else:
        pair = KeyPair.fresh()
        settings |= {"key_id": pair.kid, "private_key": pair.pem}

        def commit() -> str:
            return clients.add_credential(services.backend, name, pair.public_jwk, actor=actor)

    return Draft(url=settings["url"], text=_render(settings, "outsourced.Client"), commit=commit)


def _address(services: Services) -> dict[str, Any]:
    url = services.settings.url or installation.read(services.database).url
    if url is None:
        raise ConfigurationError(
            "this server does not know the address workers reach it at: run "
            "`flask outsourcer init https://…/outsourced`, or set OUTSOURCED_URL"
        )
    return {"url": url}


def _audience(services: Services) -> str:
    return str(installation.read(services.database).uuid)


def _render(settings: Mapping[str, Any], reader: str) -> str:
    shown = {
        name: _Block(value) if isinstance(value, str) and "\n" in value else value
        for name, value in settings.items()
    }
    body = yaml.dump(shown, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return f"# Configuration of {reader}. It holds a secret: keep it readable by its owner alone.\n{body}"


def _told(left_out: Mapping[str, str]) -> str:
    if not left_out:
        return ""
    lines = "".join(f"#   {module}: {reason}\n" for module, reason in left_out.items())
    return f"# Not included, for only the app can import them (`flask outsourcer worker run`):\n{lines}"


class TaskModules(NamedTuple):
    """The modules with the tasks this app knows."""

    include: tuple[str, ...]  #: what a worker includes unless told otherwise
    left_out: dict[str, str]  #: those that need the app, and why


def task_modules() -> TaskModules:
    """The modules with the tasks this app knows, as a worker elsewhere sees them."""
    known = [module for module in registry.modules() if module != "__main__"]
    left_out = portable.bound_to_the_app(known)
    return TaskModules(tuple(module for module in known if module not in left_out), left_out)


def write(path: Path, draft: Draft, *, force: bool) -> str:
    """Writes the file, mode 0600 from the start, then commits; leaves nothing new if that fails.

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
            file.write(draft.text)
            file.flush()
            os.fsync(file.fileno())
        kid = draft.commit()
        if target != path:
            os.replace(target, path)
    except BaseException:
        with suppress(FileNotFoundError):
            target.unlink()
        raise
    return kid


def _beside(path: Path) -> Path:
    """A name in the same folder that nobody uses."""
    return path.with_name(f".{path.name}.{uuid4().hex}")
