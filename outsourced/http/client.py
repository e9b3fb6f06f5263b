"""`Client`: a producer without a database. The same names and exceptions as on the server, over HTTPS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Unpack
from uuid import UUID

import yaml

from outsourced import backend, enqueueing, results
from outsourced.calls import Options
from outsourced.enqueueing import Entry, Target
from outsourced.errors import ConfigurationError
from outsourced.http.owners import ClientProducer
from outsourced.http.token import CLIENT_SCOPE, KeyProof, Proof, SecretProof
from outsourced.http.transport import Transport
from outsourced.owned import OwnedJobs
from outsourced.owners import owner_of
from outsourced.resultsets import GroupResult
from outsourced.secret_file import check_access

_TEXTS = ("url", "client", "audience", "key_id", "private_key", "secret", "ca_bundle", "proxy")


class Client:
    """Enqueues into the queues that the server allows it, and looks after its own jobs.

    Made from the file that `flask outsourcer client config -o FILE NAME` wrote, or from the same
    settings by name. As a context manager it is in force in the block: `my_task.delay()` goes through it.
    Safe to use from several threads; `close` it when done.
    """

    def __init__(self, file: str | PathLike[str] | None = None, **settings: str) -> None:
        """Raises ConfigurationError where a setting is missing, or the file can be read by others."""
        settings = ({} if file is None else _read(Path(file))) | settings
        unknown = sorted(set(settings) - set(_TEXTS))
        if unknown:
            raise ConfigurationError(f"{unknown[0]!r} is no setting of a client: {', '.join(_TEXTS)}")
        self.name = _needed(settings, "client")
        self._transport = Transport(
            _needed(settings, "url"),
            client_id=self.name,
            proof=_proof(settings),
            scope=CLIENT_SCOPE,
            ca_bundle=settings.get("ca_bundle"),
            proxy=settings.get("proxy"),
        )
        self._producer = ClientProducer(self._transport, "/v1/jobs")
        self._in_force: list[Any] = []

    def __repr__(self) -> str:
        return f"<Client {self.name} of {self._transport.url}>"

    def enqueue(
        self, target: Target, *args: Any, kwargs: Mapping[str, Any] | None = None, **options: Unpack[Options]
    ) -> results.AsyncResult[Any]:
        """As `outsourced.enqueue`; raises QueueForbidden too."""
        with backend.use(self._producer):
            bound: results.AsyncResult[Any] = self._bound(
                enqueueing.enqueue(target, *args, kwargs=kwargs, **options)
            )
        return bound

    def enqueue_many(self, entries: Iterable[Entry]) -> list[Any]:
        """As `outsourced.enqueue_many`; the jobs have no attachments."""
        with backend.use(self._producer):
            return [self._bound(result) for result in enqueueing.enqueue_many(entries)]

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> results.AsyncResult[Any]:
        """As `outsourced.send_task`."""
        with backend.use(self._producer):
            bound: results.AsyncResult[Any] = self._bound(enqueueing.send_task(name, args, kwargs, **options))
        return bound

    def AsyncResult(self, id: str | UUID) -> results.AsyncResult[Any]:  # noqa: N802 - the name it has everywhere
        """The job of this id, if it is one of this client's."""
        return results.AsyncResult(id, producer=self._producer)

    def restore_group(self, id: str | UUID) -> GroupResult | None:
        """As `GroupResult.restore`, of what this client has saved."""
        return GroupResult.restore(id, producer=self._producer)

    def jobs_of(self, thing: Any) -> OwnedJobs:
        """As `outsourced.jobs_of`: the jobs that this client has enqueued with `owner=thing`."""
        return OwnedJobs(owner_of(thing), view=self._producer)

    def _bound(self, result: Any) -> Any:
        """The result, and those above it and in it, asked of this client wherever they are asked."""
        parent = None if result.parent is None else self._bound(result.parent)
        if isinstance(result, GroupResult):
            members = [self._bound(one) for one in result]
            return GroupResult(result.id, members, parent=parent, producer=self._producer)
        return results.AsyncResult(result.id, producer=self._producer, parent=parent)

    def close(self) -> None:
        """Ends idle connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        block = backend.use(self._producer)
        block.__enter__()
        self._in_force.append(block)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._in_force.pop().__exit__(kind, error, traceback)
        if not self._in_force:
            self.close()


def _read(path: Path) -> dict[str, str]:
    check_access(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no file {path}: make one on the server with "
            f"`flask outsourcer client config -o {path.name} NAME` and copy it here"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise ConfigurationError(f"{path} must hold settings as `name: value` lines, one of them `url:`")
    return content


def _needed(settings: Mapping[str, str], name: str) -> str:
    if not settings.get(name):
        raise ConfigurationError(
            f"a client needs {name!r}: `flask outsourcer client config -o FILE NAME` on the server writes it"
        )
    return settings[name]


def _proof(settings: Mapping[str, str]) -> Proof:
    if settings.get("secret"):
        return SecretProof(secret=settings["secret"])
    names = ("key_id", "private_key", "audience")
    return KeyProof(**{name: _needed(settings, name) for name in names})
