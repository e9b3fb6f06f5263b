"""A worker put together over the app's own database, and the app itself in its slot processes."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from flask import Flask
from flask.cli import ScriptInfo

from outsourced import conf
from outsourced.errors import ConfigurationError
from outsourced.registry import registry
from outsourced.server.api import parking
from outsourced.server.celery_app import import_tasks
from outsourced.server.services import Services, services_of
from outsourced.sql.consumer import SqlConsumer
from outsourced_worker.bell import Bell
from outsourced_worker.instance import this_instance
from outsourced_worker.ledger import Ledger
from outsourced_worker.logs import Logs
from outsourced_worker.pools.base import Bench, Pool
from outsourced_worker.pools.child import Lifespan
from outsourced_worker.pools.choice import PoolName, make_pool
from outsourced_worker.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class AppLocator:
    """How `flask` found the app, so that another process finds it too."""

    import_path: str | None  #: of `--app`
    create_app: Callable[..., Flask] | None  #: of a command line of the host's own
    set_debug_flag: bool

    @classmethod
    def by(cls, info: ScriptInfo) -> AppLocator:
        """The locator of the command that runs."""
        return cls(
            import_path=info.app_import_path,
            create_app=info.create_app,
            set_debug_flag=info.set_debug_flag,
        )

    def load(self) -> Flask:
        """The app, made anew."""
        return ScriptInfo(self.import_path, self.create_app, self.set_debug_flag).load_app()

    def require_picklable(self) -> None:
        """Raises ConfigurationError where another process could not load the app."""
        try:
            pickle.dumps(self)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigurationError(
                "slot processes load the app themselves and cannot by this command line's create_app, "
                "which is no function of a module: choose `-P threads`, or run `flask --app …`"
            ) from error


@dataclass(frozen=True, slots=True)
class AppEquipment:
    """Equips a slot process: with the app, and its database by connections of the process's own."""

    locator: AppLocator
    worker: str
    logs: Logs = field(default_factory=Logs)

    def __call__(self) -> Bench:
        app = self.locator.load()
        import_tasks(app)
        begin_logs(self.logs)
        return bench_in(app, SqlConsumer(services_of(app).backend, self.worker))


def begin_logs(logs: Logs) -> None:
    """Begins the process's logs; where the host has set them up, it obeys only a level that was typed."""
    if not logging.getLogger().handlers:
        logs.configure()
        logs.hand_over()
    elif logs.level is not None:
        logs.set_level()


def bench_in(app: Flask, side: SqlConsumer) -> Bench:
    """A bench in the app: each call has an app context of its own, as a request has."""
    return Bench(registry, side, around=app.app_context)


def make_worker(
    app: Flask, locator: AppLocator, name: str, logs: Logs, *, pool: PoolName, concurrency: int, burst: bool
) -> Worker:
    """A worker of this name, ready to run in this process."""
    services: Services = services_of(app)
    settings = conf.in_force()
    lifespan = Lifespan(
        max_tasks=settings["worker_max_tasks_per_child"], max_memory=settings["worker_max_memory_per_child"]
    )
    consumer = SqlConsumer(services.backend, name, exchange=partial(parking.exchange, services))

    def make(ledger: Ledger, bell: Bell) -> Pool:
        return make_pool(
            pool,
            concurrency,
            bench=bench_in(app, consumer),
            equip=AppEquipment(locator, name, logs),
            ledger=ledger,
            bell=bell,
            lifespan=lifespan,
        )

    return Worker(
        consumer,
        make,
        instance=this_instance(),
        tasks=registry.runnable(),
        poll_wait=services.settings.poll_wait.total_seconds(),
        burst=burst,
    )
