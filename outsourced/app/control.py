"""`app.control`: revokes jobs, and tells what workers do. The server knows: no worker is asked."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, NoReturn
from uuid import UUID

from outsourced import backend, clock
from outsourced.backend import Foreman, Limiter, Overseer
from outsourced.calls import job_id
from outsourced.errors import ConfigurationError
from outsourced.payload import decode_call
from outsourced.records import Job
from outsourced.shown import WorkerInfo
from outsourced.states import State, celery_state

log = logging.getLogger(__name__)

#: workers; None: all
Names = str | Iterable[str] | None
Ids = str | UUID | Iterable[str | UUID]

#: a worker that was not heard of for so long does not answer a ping
ANSWERS_WITHIN = timedelta(seconds=90)
#: jobs that one look shows of each state
SHOWN = 1000
#: under which `scheduled` shows jobs that wait for their time: no worker holds them
SERVER = "server"
_ON_THE_SERVER = "{} inside `with app.app_context():`"


class Control:
    """Celery's remote control, as far as it means something here."""

    def inspect(
        self, destination: Iterable[str] | None = None, timeout: float | None = None, **ignored: Any
    ) -> Inspect:
        """What workers do, all of them or those of these names."""
        return Inspect(destination)

    def revoke(self, task_id: Ids, destination: Any = None, terminate: bool = False, **ignored: Any) -> None:
        """Cancels the job, or several; one that has begun is asked to stop only with `terminate`."""
        producer = backend.current()
        for one in _ids(task_id):
            producer.cancel(one, unless_begun=not terminate)

    def terminate(self, task_id: Ids, **ignored: Any) -> None:
        """Cancels the job, or several, begun or not."""
        self.revoke(task_id, terminate=True)

    def purge(self, connection: Any = None) -> int:
        """Cancels all jobs that no worker has in hand; gives how many."""
        return _overseer().empty_queues()

    discard_all = purge

    def ping(
        self, destination: Iterable[str] | None = None, timeout: float | None = None, **ignored: Any
    ) -> list[dict[str, dict[str, str]]]:
        """The workers that the server has heard of lately."""
        return [{name: answer} for name, answer in Inspect(destination).ping().items()]

    def rate_limit(
        self, task_name: str, rate_limit: str | float | None, destination: Any = None, **ignored: Any
    ) -> list[dict[str, dict[str, str]]]:
        """Limits how many jobs of the task are begun in a time, on all workers together and at once.

        0 and None: as many as there are. What is set here goes before what the task's code says.
        """
        if destination is not None:
            log.warning("rate_limit of %s holds for all workers together, not for %s", task_name, destination)
        limiter = backend.current()
        if not isinstance(limiter, Limiter):
            raise ConfigurationError(_ON_THE_SERVER.format("limits are the server's: set them"))
        limiter.limit_task(task_name, rate_limit or 0)
        return [{SERVER: {"ok": "new rate limit set successfully"}}]

    def add_consumer(self, queue: str, *options: Any, destination: Names = None, **ignored: Any) -> None:
        """Hires workers for the queue: those of these names, or all."""
        for name in _staff(destination):
            _foreman().hire(name, queue)

    def cancel_consumer(self, queue: str, destination: Names = None, **ignored: Any) -> None:
        """Fires workers from the queue: those of these names, or all; they finish what they have begun."""
        for name in _staff(destination):
            _foreman().fire(name, queue)

    def time_limit(self, task_name: str, *limits: Any, **options: Any) -> NoReturn:
        """Raises ConfigurationError that says what to do instead, as do those below."""
        _refuse("time_limit", f"write @task(time_limit=…) where {task_name} is, or give it with each call")

    def pool_grow(self, n: int = 1, *args: Any, **options: Any) -> NoReturn:
        _refuse("pool_grow", "start the worker with `-c N`, or another worker beside it")

    def pool_shrink(self, n: int = 1, *args: Any, **options: Any) -> NoReturn:
        _refuse("pool_shrink", "start the worker with `-c N`")

    def pool_restart(self, *args: Any, **options: Any) -> NoReturn:
        _refuse("pool_restart", "send TERM to the worker's process and start it anew: no job is lost")

    def autoscale(self, *args: Any, **options: Any) -> NoReturn:
        _refuse("autoscale", "`-c N` says how many jobs run at a time")

    def shutdown(self, *args: Any, **options: Any) -> NoReturn:
        _refuse("shutdown", "`flask outsourcer worker pause NAME`, and TERM to its process")

    def broadcast(self, command: str, *args: Any, **options: Any) -> NoReturn:
        _refuse(f"broadcast of {command!r}", "the server decides what workers do: `flask outsourcer worker`")


class Inspect:
    """Workers by name, and what each does; those not heard of lately are left out."""

    def __init__(self, destination: Iterable[str] | None = None) -> None:
        names = [destination] if isinstance(destination, str) else destination
        self._names = None if names is None else set(names)

    def active(self, safe: Any = None) -> dict[str, list[dict[str, Any]]]:
        """The jobs that run."""
        return self._held(State.WORKING, _shown)

    def reserved(self, safe: Any = None) -> dict[str, list[dict[str, Any]]]:
        """The jobs that workers have fetched and not begun."""
        return self._held(State.ASSIGNED, _shown)

    def scheduled(self, safe: Any = None) -> dict[str, list[dict[str, Any]]]:
        """The jobs that wait for their time, under the name `server`: no worker holds them."""
        return {
            SERVER: [
                {"eta": job.runs_at.isoformat(), "priority": job.priority, "request": _shown(job)}
                for state in (State.SCHEDULED, State.RETRYING)
                for job in _jobs(state)
            ]
        }

    def registered(self, *taskinfoitems: str) -> dict[str, list[str]]:
        """The tasks that they know."""
        return {name: list(tasks) for name, tasks in _overseer().known_tasks().items() if self._means(name)}

    registered_tasks = registered

    def stats(self) -> dict[str, dict[str, Any]]:
        """How they stand."""
        return self._workers(
            lambda worker: {
                "state": worker.state,
                "paused": worker.paused,
                "queues": list(worker.queues),
                "jobs_in_hand": worker.leases,
            }
        )

    def ping(self, destination: Any = None) -> dict[str, dict[str, str]]:
        """A pong for each."""
        return self._workers(lambda worker: {"ok": "pong"})

    def active_queues(self) -> dict[str, list[dict[str, Any]]]:
        """The queues they are hired for."""
        return self._workers(
            lambda worker: [{"name": queue, "routing_key": queue} for queue in worker.queues]
        )

    def query_task(self, *ids: Ids) -> dict[str, dict[str, list[Any]]]:
        """Who has these jobs, and how they stand with Celery's name of the state."""
        found: dict[str, dict[str, list[Any]]] = defaultdict(dict)
        for one in (one for some in ids for one in _ids(some)):
            job = _overseer().job(one)
            if job is not None and self._means(job.worker or SERVER):
                found[job.worker or SERVER][str(one)] = [celery_state(job.state).lower(), _shown(job)]
        return dict(found)

    def _means(self, name: str) -> bool:
        return self._names is None or name in self._names

    def _workers(self, tell: Callable[[WorkerInfo], Any]) -> dict[str, Any]:
        since = clock.now() - ANSWERS_WITHIN
        return {
            worker.name: tell(worker)
            for worker in _overseer().staff()
            if self._means(worker.name) and worker.seen_at is not None and worker.seen_at >= since
        }

    def _held(self, state: State, tell: Callable[[Job], dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        held: dict[str, list[dict[str, Any]]] = self._workers(lambda worker: [])
        for job in _jobs(state):
            if job.worker is not None and self._means(job.worker):
                held.setdefault(job.worker, []).append(tell(job))
        return held


def _refuse(verb: str, instead: str) -> NoReturn:
    raise ConfigurationError(f"workers are not called, so there is no {verb}: {instead}")


def _foreman() -> Foreman:
    current = backend.current()
    if not isinstance(current, Foreman):
        raise ConfigurationError(_ON_THE_SERVER.format("who works a queue is the server's to say: say it"))
    return current


def _staff(destination: Names) -> list[str]:
    if destination is None:
        return [worker.name for worker in _foreman().staff()]
    return [destination] if isinstance(destination, str) else list(destination)


def _overseer() -> Overseer:
    current = backend.current()
    if not isinstance(current, Overseer):
        raise ConfigurationError(_ON_THE_SERVER.format("what workers do is known to the server: ask it"))
    return current


def _jobs(state: State) -> list[Job]:
    overseer = _overseer()
    with_arguments = (overseer.job(job.id) for job in overseer.jobs(state=state, limit=SHOWN))
    return [job for job in with_arguments if job is not None and job.state is state]


def _ids(given: Ids) -> list[UUID]:
    return [job_id(one) for one in ([given] if isinstance(given, (str, UUID)) else given)]


def _shown(job: Job) -> dict[str, Any]:
    args, kwargs = ([], {}) if job.payload is None else decode_call(job.payload)[:2]
    return {
        "id": str(job.id),
        "name": job.task,
        "type": job.task,
        "args": args,
        "kwargs": kwargs,
        "hostname": job.worker,
        "time_start": None if job.begun_at is None else job.begun_at.timestamp(),
        "acknowledged": False,
        "delivery_info": {"routing_key": job.queue, "priority": job.priority},
    }
