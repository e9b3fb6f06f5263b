"""`outsourced.workers`, `clients` and `queues`: in Python what people do on the command line.

Each verb is a short transaction of its own with its row in the audit, acts at once, and gives the
thing it was asked of, so that acts read on: `workers.create("site-42").hire("gpu").allow("reports")`.
They act on the app in whose context they are called.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, Generic, Self, TypeVar

from outsourced.errors import UnknownQueue
from outsourced.server import credentials_file
from outsourced.server.services import here
from outsourced.shown import ClientInfo, QueueInfo, WorkerInfo
from outsourced.sql import clients as client_verbs
from outsourced.sql import overview
from outsourced.sql import queues as queue_verbs
from outsourced.sql import workers as worker_verbs
from outsourced.sql.accounts import JobsOfDestroyed
from outsourced.sql.cancelling import Cancelled, JobsHeld
from outsourced.sql.workers import JobsOfFired

#: who acts, in the audit and in history, where nobody is named by `by`
APP = "app"


class _Thing(ABC):
    """Something with a name that people act on."""

    def __init__(self, name: str, actor: str = APP) -> None:
        self.name = name
        self._actor = actor

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    @abstractmethod
    def info(self) -> object:
        """It as it stands; raises where there is none of this name."""


class _Account(_Thing):
    """What workers and clients have in common."""

    _verbs: ModuleType

    def lock(self) -> Self:
        """Locks it out at once; what it has in hand goes back."""
        return self._act("lock")

    def unlock(self) -> Self:
        """Lets it in again."""
        return self._act("unlock")

    def allow(self, *queues: str) -> Self:
        """Lets it enqueue into these queues: a worker's tasks, while they run. Raises UnknownQueue."""
        return self._act_on("allow", queues)

    def deny(self, *queues: str) -> Self:
        """Takes that back; what was enqueued stays."""
        return self._act_on("deny", queues)

    def revoke(self, kid: str) -> Self:
        """Ends one of its credentials; they are listed in `info`. Raises NotFound."""
        self._verbs.revoke(here().backend, self.name, kid, actor=self._actor)
        return self

    def reset(self) -> Self:
        """Ends all its credentials; `config` makes a new one."""
        return self._act("reset")

    def destroy(self, *, jobs: JobsOfDestroyed = "finish") -> None:
        """Ends it for good; raises InvalidTransition while it has begun jobs that are to `finish`."""
        self._act("destroy", jobs=jobs)

    def _act(self, verb: str, **options: Any) -> Self:
        getattr(self._verbs, verb)(here().backend, self.name, actor=self._actor, **options)
        return self

    def _act_on(self, verb: str, queues: Sequence[str], **options: Any) -> Self:
        for queue in queues:
            getattr(self._verbs, verb)(here().backend, self.name, queue, actor=self._actor, **options)
        return self


class Worker(_Account):
    """A worker, by its name; raises NotFound from any verb once there is none of this name."""

    _verbs = worker_verbs

    @property
    def info(self) -> WorkerInfo:
        """It as it stands: state, queues, processes, credentials, jobs in hand."""
        return overview.worker(here().database, self.name)

    def hire(self, *queues: str) -> Self:
        """Lets it work these queues; raises UnknownQueue."""
        return self._act_on("hire", queues)

    def fire(self, *queues: str, jobs: JobsOfFired = "finish") -> Self:
        """Hands it nothing more of these queues; what it has begun finishes, goes back or is cancelled."""
        return self._act_on("fire", queues, jobs=jobs)

    def pause(self) -> Self:
        """Hands it no new jobs; what it has goes on."""
        return self._act("pause")

    def resume(self) -> Self:
        """Hands it jobs again."""
        return self._act("resume")

    def config(self, *, include: Sequence[str] | None = None) -> str:
        """The text of a configuration file with a fresh private key, which is nowhere else.

        `include` names the modules with its tasks; None: those of the tasks this app knows that can be
        imported without the app.
        """
        modules, left_out = credentials_file.task_modules() if include is None else (include, {})
        draft = credentials_file.for_worker(
            here(), self.name, include=modules, left_out=left_out, actor=self._actor
        )
        draft.commit()
        return draft.text


class Client(_Account):
    """A producer elsewhere, by its name; raises likewise."""

    _verbs = client_verbs

    @property
    def info(self) -> ClientInfo:
        """It as it stands: state, queues it may enqueue into, credentials."""
        return overview.client(here().database, self.name)

    def config(self, *, secret: bool = False) -> str:
        """The text of a configuration file with a fresh private key, or a secret, which is nowhere else."""
        draft = credentials_file.for_client(here(), self.name, secret=secret, actor=self._actor)
        draft.commit()
        return draft.text


class Queue(_Thing):
    """A queue, by its name; raises UnknownQueue from any verb once there is none of this name."""

    @property
    def info(self) -> QueueInfo:
        """It as it stands: capacity, workers, jobs by state."""
        for info in overview.queues(here().database):
            if info.name == self.name:
                return info
        raise UnknownQueue(f"there is no queue {self.name!r}", queue=self.name)

    def change(self, *, capacity: int | None = None, default: bool = False) -> Self:
        """Changes what it is told to; capacity 0: unlimited."""
        return self._act("change", capacity=capacity, default=default)

    def hire(self, *workers: str) -> Self:
        """Has these workers work it; raises NotFound."""
        for worker in workers:
            Worker(worker, self._actor).hire(self.name)
        return self

    def fire(self, *workers: str, jobs: JobsOfFired = "finish") -> Self:
        """Hands these workers nothing more of it."""
        for worker in workers:
            Worker(worker, self._actor).fire(self.name, jobs=jobs)
        return self

    def pause(self) -> Self:
        """Hands out none of its jobs; those in hand go on."""
        return self._act("pause")

    def resume(self) -> Self:
        """Hands its jobs out again."""
        return self._act("resume")

    def empty(self, *, jobs: JobsHeld = "finish") -> Cancelled:
        """Cancels its jobs; those in hand finish, or are asked to stop. Gives how many of both."""
        return queue_verbs.empty(here().backend, self.name, held=jobs, actor=self._actor)

    def destroy(self) -> None:
        """Ends it for good, and forgets its ended jobs; raises InvalidTransition while it holds live ones."""
        self._act("destroy")

    def _act(self, verb: str, **options: Any) -> Self:
        getattr(queue_verbs, verb)(here().backend, self.name, actor=self._actor, **options)
        return self


T = TypeVar("T", bound=_Thing)


class _Things(ABC, Generic[T]):
    """All of a kind, by name: `things["a"]`, `"a" in things`, iteration in the order of the names."""

    _thing: type[T]

    def __init__(self, actor: str = APP) -> None:
        self._actor = actor

    def by(self, person: str) -> Self:
        """The same, for a person: `admin:PERSON` in the audit and in history."""
        return type(self)(f"admin:{person}")

    def __iter__(self) -> Iterator[T]:
        return (self._named(name) for name in self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __getitem__(self, name: str) -> T:
        """The one of this name; raises NotFound, or UnknownQueue."""
        found = self._named(name)
        found.info  # noqa: B018 - raises where there is none
        return found

    def _named(self, name: str) -> T:
        return self._thing(name, self._actor)

    @abstractmethod
    def _names(self) -> list[str]: ...


class Workers(_Things[Worker]):
    """The workers."""

    _thing = Worker

    def create(self, name: str) -> Worker:
        """Makes a worker that works nothing yet; raises AlreadyExists."""
        worker_verbs.create(here().backend, name, actor=self._actor)
        return self._named(name)

    def _names(self) -> list[str]:
        return [info.name for info in overview.workers(here().database)]


class Clients(_Things[Client]):
    """The clients."""

    _thing = Client

    def create(self, name: str) -> Client:
        """Makes a client that may enqueue nowhere yet; raises AlreadyExists."""
        client_verbs.create(here().backend, name, actor=self._actor)
        return self._named(name)

    def _names(self) -> list[str]:
        return [info.name for info in overview.clients(here().database)]


class Queues(_Things[Queue]):
    """The queues."""

    _thing = Queue

    def create(self, name: str, *, capacity: int | None = None) -> Queue:
        """Makes a queue, unlimited without a capacity; raises AlreadyExists."""
        queue_verbs.create(here().backend, name, capacity=capacity, actor=self._actor)
        return self._named(name)

    def _names(self) -> list[str]:
        return [info.name for info in overview.queues(here().database)]


workers, clients, queues = Workers(), Clients(), Queues()
