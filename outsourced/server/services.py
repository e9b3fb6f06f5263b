"""What one Flask app needs to own a database of jobs: `app.extensions["outsourced"]`."""

from __future__ import annotations

import os
import threading
import time
import weakref
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID
from weakref import WeakSet
from zoneinfo import ZoneInfo

from flask import Flask, current_app, has_app_context, request
from sqlalchemy import make_url

from outsourced.backend import Producer
from outsourced.errors import (
    AuthenticationFailed,
    ConfigurationError,
    Forbidden,
    WorkerLocked,
)
from outsourced.records import ClientIdentity, Identity, Job, WorkerIdentity
from outsourced.server import config, schedule, session
from outsourced.server.access_token import Issuer
from outsourced.server.config import MAX_WAITERS, Settings, is_in_memory
from outsourced.server.janitor import Janitor
from outsourced.server.oauth import AccountAuthorizationServer
from outsourced.server.signing import load_signing_key
from outsourced.server.teller import Teller
from outsourced.server.token_rate import TokenRate
from outsourced.server.wakeup import Wakeup
from outsourced.sql import credentials, installation
from outsourced.sql.backend import SqlBackend
from outsourced.sql.database import Database
from outsourced.storage import Storage, open_storage
from outsourced.task_settings import TaskSettings

#: in `app.extensions`
KEY = "outsourced"
#: seconds after which a running server notices that `init` changed its URL
ISSUER_LIFE = 30.0


class Services:
    """The services of one app. All but the settings are built when first asked for.

    Not before: an in-memory database is the host's engine, which exists once the app is complete.
    """

    def __init__(self, app: Flask, *, db: Any = None) -> None:
        self.settings: Settings = config.load(app)
        self.storage: Storage = open_storage(self.settings.storage)
        self.task_settings = TaskSettings(
            always_eager=self.settings.task_always_eager,
            eager_propagates=self.settings.task_eager_propagates,
            timezone=ZoneInfo(self.settings.timezone),
        )
        self._app, self._db = app, db
        self._token_rate = TokenRate(self.settings.token_rate)
        self._lock = threading.RLock()
        self._stores: _Stores | None = None
        self._authority: _Authority | None = None
        _initialised.add(self)

    @property
    def db(self) -> Any:
        """The host's Flask-SQLAlchemy object; None where it has none."""
        return self._db if self._db is not None else self._app.extensions.get("sqlalchemy")

    @property
    def database(self) -> Database:
        """Our own engine and pool; for an in-memory database the host's, which has its one connection."""
        return self._built().database

    @property
    def backend(self) -> SqlBackend:
        """The store of jobs. What it commits wakes those who wait for it."""
        return self._built().backend

    @property
    def wakeup(self) -> Wakeup:
        """The parked polls of this process."""
        return self._built().wakeup

    @property
    def janitor(self) -> Janitor:
        """The background duties of this process."""
        return self._built().janitor

    @property
    def teller(self) -> Teller:
        """The callbacks of this app."""
        return self._built().teller

    def _built(self) -> _Stores:
        with self._lock:
            if self._stores is None:
                self._stores = self._build()
            return self._stores

    def _build(self) -> _Stores:
        database = self._open_database()
        if not database.shares_engine:
            weakref.finalize(self, database.engine.dispose)  # with the app, and at the end of the process
        limit = self.settings.max_waiters
        wakeup = Wakeup(database, max_waiters=limit or 0, listens=not self._app.testing)
        backend = SqlBackend(
            database,
            storage=self.storage,
            max_attachment=self.settings.max_attachment,
            lease_ttl=self.settings.lease_ttl,
            retention=schedule.retention_of(self._app, self.settings),
            notify=wakeup.notify,
            host_session=self._host_session,
            default_queue=self.settings.task_default_queue,
            owner_limits=self.settings.owner_limits,
        )
        return _Stores(
            database=database,
            backend=backend,
            wakeup=wakeup,
            janitor=Janitor(
                backend,
                self.settings,
                declare=partial(schedule.declare, self._app, backend, self.settings),
            ),
            teller=Teller(self._app, backend),
        )

    def _open_database(self) -> Database:
        url = self.settings.database_url
        shared = self.settings.database_is_the_hosts and self.db is not None and is_in_memory(make_url(url))
        if not shared:
            return Database(url, before_write=self._refuse_to_wait_for_ourselves)
        with self._app.app_context():
            engine = self.db.engine
        return Database(
            url,
            shared_engine=engine,
            before_write=self._refuse_to_wait_for_ourselves,
            lend=lambda: session.open_connection(self.db),
        )

    def _host_session(self) -> Any:
        if self.db is None:
            raise ConfigurationError(
                "this app has no db.session (Flask-SQLAlchemy) to join: enqueue with "
                "apply_async(…, session=…), or with delay(), which needs none"
            )
        return self.db.session

    def _refuse_to_wait_for_ourselves(self) -> None:
        if self.db is not None:
            session.require_no_open_write(self.db, self.database.engine)

    def wait_for(self, job_id: UUID, seconds: float) -> Job | None:
        """The job once it has ended, or as it stands after so many seconds, or now if too many wait."""
        with self.wakeup.place() as admitted:
            return self.backend.wait(job_id, seconds if admitted else 0)

    def serve(self) -> None:
        """Begins what only a serving process does: its services, and parking polls where threads allow it."""
        if self.settings.max_waiters is None:
            self.wakeup.max_waiters = MAX_WAITERS if request.environ.get("wsgi.multithread") else 0
        self._start_services()

    def _start_services(self) -> None:
        if not self._app.testing:
            self.janitor.start()
            self.teller.start()

    def work(self) -> None:
        """Begins what a process that works jobs itself does: its services, and parking its worker's poll."""
        self.wakeup.max_waiters = max(1, self.wakeup.max_waiters)
        self._start_services()

    def stop(self) -> None:
        """Ends the threads and closes our pool."""
        with self._lock:
            if self._stores is not None:
                self._stores.janitor.stop()
                self._stores.teller.stop()
                self._stores.wakeup.stop()
                self._stores.database.dispose()

    @property
    def authorization_server(self) -> AccountAuthorizationServer:
        """The OAuth server of this installation; raises ConfigurationError before `init`."""
        authority = self._authority
        if authority is not None and time.monotonic() - authority.read_at < ISSUER_LIFE:
            return authority.server
        with self._lock:
            facts = installation.read(self.database)
            mark = (facts.uuid, facts.url, facts.signing_key)
            if self._authority is None or self._authority.mark != mark:
                server = AccountAuthorizationServer(self._issuer(facts), self.database, self._token_rate)
            else:
                server = self._authority.server
            self._authority = _Authority(server=server, mark=mark, read_at=time.monotonic())
            return server

    def _issuer(self, facts: installation.InstallationFacts) -> Issuer:
        url = self.settings.url or facts.url
        if url is None:
            raise ConfigurationError(
                "this server does not know its own address: run `flask outsourcer init https://…`, "
                "with the address of the blueprint, or set OUTSOURCED_URL"
            )
        key = load_signing_key(
            facts.signing_key,
            secret_key=self._app.secret_key,
            fallbacks=self._app.config.get("SECRET_KEY_FALLBACKS") or (),
            given=self.settings.signing_key,
        )
        return Issuer(url=url, audience=str(facts.uuid), key=key)

    def require_worker(self, *, fresh: bool = True) -> WorkerIdentity:
        """The worker that sent this request; raises AuthenticationFailed, WorkerLocked or Forbidden.

        Not `fresh`, the token alone is believed: for the exchange, whose transaction checks the
        worker and its epoch itself.
        """
        identity = self._require_account(fresh=fresh)
        if not isinstance(identity, WorkerIdentity):
            raise Forbidden("this is for workers: a client enqueues and looks after its own jobs")
        return identity

    def require_client(self) -> ClientIdentity:
        """The client that sent this request; raises likewise."""
        identity = self._require_account(fresh=True)
        if not isinstance(identity, ClientIdentity):
            raise Forbidden("this is for clients: a worker enqueues under its leases")
        return identity

    def _require_account(self, *, fresh: bool) -> Identity:
        authorization = request.authorization
        if authorization is None or authorization.type != "bearer" or not authorization.token:
            raise AuthenticationFailed("send an access token: `Authorization: Bearer …`")
        identity = self.authorization_server.verify(authorization.token)
        if fresh:
            with self.database.connect() as connection:
                standing = credentials.standing(connection, account_id=identity.id)
            require_standing(identity, standing)
        return identity

    def forget_connections(self) -> None:
        """Leaves the connections of the process this one was forked from to it."""
        if self._stores is not None and not self._stores.database.shares_engine:
            self._stores.database.engine.dispose(close=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stores:
    database: Database
    backend: SqlBackend
    wakeup: Wakeup
    janitor: Janitor
    teller: Teller


@dataclass(frozen=True, slots=True, kw_only=True)
class _Authority:
    server: AccountAuthorizationServer
    mark: tuple[Any, ...]  #: what was stored when it was made
    read_at: float


def require_standing(identity: Identity, standing: tuple[str, int] | None) -> None:
    """Raises WorkerLocked or AuthenticationFailed unless the account may act with a token of this epoch."""
    if standing is None:
        raise AuthenticationFailed("there is no such account any more")
    state, epoch = standing
    if state == "locked":
        raise WorkerLocked()
    if epoch != identity.epoch:
        raise AuthenticationFailed("the access token was revoked: ask for a new one")


_initialised: WeakSet[Services] = WeakSet()


def here() -> Services:
    """The services of the current app; raises ConfigurationError where it has none."""
    return services_of(current_app)


def services_of(app: Flask) -> Services:
    """The services of this app; raises likewise."""
    services = app.extensions.get(KEY)
    if not isinstance(services, Services):
        raise ConfigurationError(
            "this app has no outsourced server: where it is made, "
            "`app.register_blueprint(outsourced.bp, url_prefix='/outsourced')` is missing"
        )
    return services


def provide_backend() -> Producer | None:
    """The current app's backend; outside of any app, that of the only one in this process."""
    if has_app_context():
        services = current_app.extensions.get(KEY)
        return services.backend if isinstance(services, Services) else None
    found = list(_initialised)
    return found[0].backend if len(found) == 1 else None


def provide_task_settings() -> TaskSettings | None:
    """What tasks of the current app go by; outside of any app, those of the only one in this process."""
    if has_app_context():
        services = current_app.extensions.get(KEY)
        return services.task_settings if isinstance(services, Services) else None
    found = list(_initialised)
    return found[0].task_settings if len(found) == 1 else None


def _forget_connections() -> None:
    for services in list(_initialised):
        services.forget_connections()


os.register_at_fork(after_in_child=_forget_connections)
