"""Accounts, whatever they are for: made, locked out, let in, given credentials and queues to enqueue into.

Each verb is one transaction that takes the account's exclusive lock first: a claim already running
has ended before it, the next one sees what it did. The audit row is part of it. A verb that finds
things as they should be changes nothing, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from outsourced.errors import AlreadyExists, InvalidTransition, NotFound
from outsourced.sql import audit, credentials, leases, queues
from outsourced.sql.models import Account, Allowance, Hire, Job, Queue
from outsourced.sql.people import Done, announce, check_name
from outsourced.states import Event, Reason
from outsourced.wording import similar

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend


#: what becomes of the jobs that an account destroyed has begun
JobsOfDestroyed = Literal["finish", "release", "cancel"]


class Standing(NamedTuple):
    """An account as its verb finds it, under the account's lock."""

    id: int
    state: str
    paused: bool


Change = Callable[[Connection, Standing], Done]


@dataclass(frozen=True, slots=True)
class Accounts:
    """The verbs on accounts of one kind."""

    kind: Literal["worker", "client"]

    def create(self, backend: SqlBackend, name: str, *, actor: str) -> None:
        """Makes an account that may do nothing yet, without credentials; raises AlreadyExists."""
        check_name(name, self.kind)

        def work(connection: Connection) -> None:
            at = backend.database.now(connection)
            try:
                connection.execute(insert(Account).values(name=name, kind=self.kind, created_at=at))
            except IntegrityError as error:
                raise AlreadyExists(self._taken(name), name=name) from error
            audit.record(connection, at=at, actor=actor, act=f"{self.kind}.create", subject=name)

        backend.database.write(work)

    def _taken(self, name: str) -> str:
        return f"there is a {self.kind} {name!r} already, or another account of this name"

    def lock(self, backend: SqlBackend, name: str, *, actor: str) -> Done:
        """Locks the account out: its tokens are refused, all it has in hand goes back at once."""

        def change(connection: Connection, account: Standing) -> Done:
            if account.state == "locked":
                return Done(changed=False)
            set_values(connection, account, state="locked")
            moved = leases.take_back(
                backend.database, connection, worker_id=account.id, actor=actor, reason=Reason.LOCKED
            )
            return Done(changed=True, moved=moved)

        return self.act(backend, name, change, act="lock", actor=actor)

    def unlock(self, backend: SqlBackend, name: str, *, actor: str) -> Done:
        """Lets a locked account in again, with the tokens and credentials it had."""

        def change(connection: Connection, account: Standing) -> Done:
            if account.state != "locked":
                return Done(changed=False)
            set_values(connection, account, state="active")
            return Done(changed=True)

        return self.act(backend, name, change, act="unlock", actor=actor)

    def allow(self, backend: SqlBackend, name: str, queue: str, *, actor: str) -> Done:
        """Lets the account enqueue into the queue: a worker's tasks, under their leases."""

        def change(connection: Connection, account: Standing) -> Done:
            queue_id = queues.id_of(connection, queue)
            if connection.execute(_allowance(account.id, queue_id)).one_or_none():
                return Done(changed=False)
            at = backend.database.now(connection)
            connection.execute(
                insert(Allowance).values(account_id=account.id, queue_id=queue_id, created_at=at)
            )
            return Done(changed=True)

        return self.act(backend, name, change, act="allow", actor=actor, queue=queue)

    def deny(self, backend: SqlBackend, name: str, queue: str, *, actor: str) -> Done:
        """Takes that back; what was enqueued stays."""

        def change(connection: Connection, account: Standing) -> Done:
            queue_id = queues.id_of(connection, queue)
            ended = delete(Allowance).where(
                Allowance.account_id == account.id, Allowance.queue_id == queue_id
            )
            return Done(changed=bool(connection.execute(ended).rowcount))

        return self.act(backend, name, change, act="deny", actor=actor, queue=queue)

    def add_credential(
        self, backend: SqlBackend, name: str, public_jwk: Mapping[str, Any], *, actor: str
    ) -> str:
        """Lets the account sign with this key too; gives its key id. Raises AlreadyExists."""
        return self._add(
            backend,
            name,
            lambda connection, account_id: credentials.add(
                connection, account_id=account_id, public_jwk=public_jwk
            ),
            actor=actor,
        )

    def add_secret(self, backend: SqlBackend, name: str, secret: str, *, actor: str) -> str:
        """Lets the account prove itself by this secret too; gives the credential's id. Raises likewise."""
        return self._add(
            backend,
            name,
            lambda connection, account_id: credentials.add_secret(
                connection, account_id=account_id, secret=secret
            ),
            actor=actor,
        )

    def _add(
        self, backend: SqlBackend, name: str, add: Callable[[Connection, int], str], *, actor: str
    ) -> str:
        kids: list[str] = []

        def change(connection: Connection, account: Standing) -> Done:
            kids[:] = [add(connection, account.id)]
            return Done(changed=True)

        self.act(backend, name, change, act="config", actor=actor)
        return kids[0]

    def revoke(self, backend: SqlBackend, name: str, kid: str, *, actor: str) -> None:
        """Ends one credential and every token of the account; raises NotFound."""

        def change(connection: Connection, account: Standing) -> Done:
            credentials.revoke(connection, account_id=account.id, kid=kid)
            return Done(changed=True)

        self.act(backend, name, change, act="revoke", actor=actor, kid=kid)

    def reset(self, backend: SqlBackend, name: str, *, actor: str) -> int:
        """Ends all credentials and tokens of the account; gives the number of credentials."""
        ended: list[int] = []

        def change(connection: Connection, account: Standing) -> Done:
            ended[:] = [credentials.reset(connection, account_id=account.id)]
            return Done(changed=True)

        self.act(backend, name, change, act="reset", actor=actor)
        return ended[0]

    def destroy(
        self, backend: SqlBackend, name: str, *, jobs: JobsOfDestroyed = "finish", actor: str
    ) -> Done:
        """Ends the account for good, with its credentials; what it has in hand goes back, or is cancelled.

        Raises InvalidTransition where it has begun jobs that were to `finish`: nobody could report their end.
        """

        def change(connection: Connection, account: Standing) -> Done:
            begun = connection.scalar(_begun_by(account.id)) or 0
            if begun and jobs == "finish":
                raise InvalidTransition(
                    f"{self.kind} {name!r} has begun {begun} jobs: fire it and wait for their end, "
                    "or destroy it with --jobs release or --jobs cancel",
                    begun=begun,
                )
            if jobs == "cancel":
                leases.request_cancels(backend.database, connection, worker_id=account.id)
            moved = leases.take_back(
                backend.database,
                connection,
                worker_id=account.id,
                event=Event.RELEASE,
                actor=actor,
                reason=Reason.DESTROYED,
            )
            hired = select(Queue.name).join(Hire, Hire.queue_id == Queue.id)
            queues = connection.scalars(hired.where(Hire.worker_id == account.id)).all()
            connection.execute(delete(Account).where(Account.id == account.id))
            return Done(changed=True, moved=moved, details={"queues": sorted(queues)})

        return self.act(backend, name, change, act="destroy", actor=actor, jobs=jobs)

    def id_of(self, connection: Connection, name: str) -> int:
        """The account's number; raises NotFound that suggests what may have been meant."""
        mine = select(Account.id).where(Account.kind == self.kind)
        found = connection.scalar(mine.where(Account.name == name))
        if found is None:
            known = connection.scalars(select(Account.name).where(Account.kind == self.kind)).all()
            hint = similar(name, known) or f": make one with `flask outsourcer {self.kind} create {name}`"
            raise NotFound(f"there is no {self.kind} {name!r}{hint}", **{self.kind: name})
        return found

    def act(
        self, backend: SqlBackend, name: str, change: Change, *, act: str, actor: str, **details: Any
    ) -> Done:
        """Runs `change` under the account's lock with its audit row, then wakes whom it concerns."""

        def work(connection: Connection) -> Done:
            account_id = self.id_of(connection, name)
            backend.database.dialect.lock_worker(connection, account_id)
            account: Any = connection.execute(
                select(Account.id, Account.state, Account.paused).where(Account.id == account_id)
            ).one_or_none()
            if account is None:
                raise NotFound(f"there is no {self.kind} {name!r} any more", **{self.kind: name})
            done = change(connection, account)
            if done.changed:
                at = backend.database.now(connection)
                audit.record(
                    connection,
                    at=at,
                    actor=actor,
                    act=f"{self.kind}.{act}",
                    subject=name,
                    **details,
                    **done.details,
                )
            return done

        done = backend.database.write(work)
        announce(backend, done, [name])
        return done


def set_values(connection: Connection, account: Standing, **values: Any) -> None:
    """Changes the account's row."""
    connection.execute(update(Account).where(Account.id == account.id).values(**values))


def _begun_by(account_id: int) -> Any:
    # jobs_leased
    return (
        select(func.count())
        .select_from(Job)
        .where(Job.lease_until.is_not(None), Job.worker_id == account_id, Job.state == "working")
    )


def _allowance(account_id: int, queue_id: int) -> Any:
    return select(Allowance.queue_id).where(
        Allowance.account_id == account_id, Allowance.queue_id == queue_id
    )
