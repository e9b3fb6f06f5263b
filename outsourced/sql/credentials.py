"""The public keys of workers, and the assertions already used. Private keys never come here.

Each function runs in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from sqlalchemy import Connection, delete, func, insert, or_, select, update

from outsourced import clock
from outsourced.errors import AlreadyExists, InvalidRequest, NotFound
from outsourced.records import CredentialInfo
from outsourced.sql.models import Credential, Reply, Worker

#: credentials a worker may have at a time
MAX_CREDENTIALS = 5
#: how exactly `used_at` is kept
USED_PRECISION = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A worker with the keys it may sign with: kid → public JWK."""

    worker_id: int
    name: str
    locked: bool
    epoch: int
    keys: dict[str, dict[str, Any]]


def add(connection: Connection, *, worker_id: int, public_jwk: Mapping[str, Any]) -> str:
    """Lets the worker sign with this key too; gives its key id, the RFC 7638 thumbprint.

    Raises InvalidRequest for anything but a public P-256 key, AlreadyExists for a key on record and
    for one too many.
    """
    key = _public_key(public_jwk)
    kid = key.thumbprint()
    if connection.scalar(select(Credential.kid).where(Credential.kid == kid)) is not None:
        raise AlreadyExists(f"the key {kid} is on record already", kid=kid)
    held = connection.scalar(
        select(func.count()).select_from(Credential).where(Credential.worker_id == worker_id)
    )
    if (held or 0) >= MAX_CREDENTIALS:
        raise AlreadyExists(
            f"the worker has {MAX_CREDENTIALS} credentials, the most it may: revoke one first"
        )
    jwk = orjson.dumps({**key.as_dict(private=False), "kid": kid}).decode()
    connection.execute(
        insert(Credential).values(kid=kid, worker_id=worker_id, public_jwk=jwk, created_at=clock.now())
    )
    return kid


def _public_key(jwk: Mapping[str, Any]) -> ECKey:
    try:
        key = ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y")})
    except (JoseError, KeyError, ValueError, TypeError) as error:
        raise InvalidRequest(f"this is no public key on P-256 in JWK form: {error}") from error
    if key.curve_name != "P-256":
        raise InvalidRequest(f"the key is on {key.curve_name}: ES256 needs P-256")
    return key


def revoke(connection: Connection, *, worker_id: int, kid: str) -> None:
    """Ends one credential, and with it every access token of the worker; raises NotFound."""
    ended = connection.execute(
        delete(Credential).where(Credential.worker_id == worker_id, Credential.kid == kid)
    )
    if not ended.rowcount:
        raise NotFound(
            f"the worker has no credential {kid}: `flask outsourcer worker show NAME` lists them", kid=kid
        )
    _void_tokens(connection, worker_id)


def reset(connection: Connection, *, worker_id: int) -> int:
    """Ends all credentials and access tokens of the worker; gives the number of credentials."""
    ended = connection.execute(delete(Credential).where(Credential.worker_id == worker_id))
    _void_tokens(connection, worker_id)
    return ended.rowcount


def _void_tokens(connection: Connection, worker_id: int) -> None:
    connection.execute(update(Worker).where(Worker.id == worker_id).values(epoch=Worker.epoch + 1))


def void_tokens(connection: Connection, *, worker_id: int, epoch: int) -> None:
    """Ends the access tokens of this epoch; does nothing when a newer one has begun."""
    connection.execute(
        update(Worker).where(Worker.id == worker_id, Worker.epoch == epoch).values(epoch=epoch + 1)
    )


def listing(connection: Connection, *, worker_id: int) -> tuple[CredentialInfo, ...]:
    """The worker's credentials, oldest first."""
    rows = connection.execute(
        select(Credential.kid, Credential.created_at, Credential.used_at)
        .where(Credential.worker_id == worker_id)
        .order_by(Credential.created_at, Credential.kid)
    )
    return tuple(CredentialInfo(kid=kid, created_at=made, used_at=used) for kid, made, used in rows)


def find(connection: Connection, name: str) -> Holder | None:
    """The worker of this name with its keys; None when there is none."""
    worker = connection.execute(
        select(Worker.id, Worker.state, Worker.epoch).where(Worker.name == name)
    ).one_or_none()
    if worker is None:
        return None
    keys = connection.execute(
        select(Credential.kid, Credential.public_jwk).where(Credential.worker_id == worker.id)
    )
    return Holder(
        worker_id=worker.id,
        name=name,
        locked=worker.state == "locked",
        epoch=worker.epoch,
        keys={kid: orjson.loads(jwk) for kid, jwk in keys},
    )


def standing(connection: Connection, *, worker_id: int) -> tuple[str, int] | None:
    """The worker's state and epoch now; None when there is no such worker."""
    row = connection.execute(select(Worker.state, Worker.epoch).where(Worker.id == worker_id)).one_or_none()
    return None if row is None else (row.state, row.epoch)


def spend(connection: Connection, *, worker: str, jti: str, at: datetime) -> None:
    """Records that the assertion was used; raises SQLAlchemy's IntegrityError if it was before."""
    connection.execute(insert(Reply).values(caller=f"worker:{worker}", key=f"jti:{jti}", at=at))


def touch(connection: Connection, kid: str) -> None:
    """Notes that the credential was used now; writes at most once a minute."""
    now = clock.now()
    connection.execute(
        update(Credential)
        .where(
            Credential.kid == kid,
            or_(Credential.used_at.is_(None), Credential.used_at < now - USED_PRECISION),
        )
        .values(used_at=now)
    )
