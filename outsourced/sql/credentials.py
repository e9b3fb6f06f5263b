"""What accounts prove themselves by: public keys, digests of secrets, and the assertions already used.

Private keys never come here, and secrets are not kept.

Each function runs in the caller's transaction.
"""

from __future__ import annotations

import hashlib
import secrets
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
from outsourced.shown import CredentialInfo
from outsourced.sql.bookkeeping import Reply
from outsourced.sql.models import Account, Credential

#: credentials an account may have at a time
MAX_CREDENTIALS = 5
#: how exactly `used_at` is kept
USED_PRECISION = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """An account with what it may prove itself by: public JWKs and digests of secrets, both by their id."""

    account_id: int
    name: str
    kind: str
    locked: bool
    epoch: int
    keys: dict[str, dict[str, Any]]
    secrets: dict[str, str]


def add(connection: Connection, *, account_id: int, public_jwk: Mapping[str, Any]) -> str:
    """Lets the account sign with this key too; gives its key id, the RFC 7638 thumbprint.

    Raises InvalidRequest for anything but a public P-256 key, AlreadyExists for a key on record and
    for one too many.
    """
    key = _public_key(public_jwk)
    kid = key.thumbprint()
    if connection.scalar(select(Credential.kid).where(Credential.kid == kid)) is not None:
        raise AlreadyExists(f"the key {kid} is on record already", kid=kid)
    _require_place(connection, account_id)
    jwk = orjson.dumps({**key.as_dict(private=False), "kid": kid}).decode()
    connection.execute(
        insert(Credential).values(kid=kid, account_id=account_id, public_jwk=jwk, created_at=clock.now())
    )
    return kid


def add_secret(connection: Connection, *, account_id: int, secret: str) -> str:
    """Lets the account prove itself by this secret too; gives the credential's id. Raises AlreadyExists."""
    _require_place(connection, account_id)
    kid = f"secret-{secrets.token_hex(8)}"
    connection.execute(
        insert(Credential).values(
            kid=kid, account_id=account_id, secret_sha256=digest_of(secret), created_at=clock.now()
        )
    )
    return kid


def digest_of(secret: str) -> str:
    """What is kept of a secret: 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _require_place(connection: Connection, account_id: int) -> None:
    held = connection.scalar(
        select(func.count()).select_from(Credential).where(Credential.account_id == account_id)
    )
    if (held or 0) >= MAX_CREDENTIALS:
        raise AlreadyExists(
            f"the account has {MAX_CREDENTIALS} credentials, the most it may: revoke one first"
        )


def _public_key(jwk: Mapping[str, Any]) -> ECKey:
    try:
        key = ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y")})
    except (JoseError, KeyError, ValueError, TypeError) as error:
        raise InvalidRequest(f"this is no public key on P-256 in JWK form: {error}") from error
    if key.curve_name != "P-256":
        raise InvalidRequest(f"the key is on {key.curve_name}: ES256 needs P-256")
    return key


def revoke(connection: Connection, *, account_id: int, kid: str) -> None:
    """Ends one credential, and with it every access token of the account; raises NotFound."""
    ended = connection.execute(
        delete(Credential).where(Credential.account_id == account_id, Credential.kid == kid)
    )
    if not ended.rowcount:
        raise NotFound(f"the account has no credential {kid}: `show NAME` lists them", kid=kid)
    _void_tokens(connection, account_id)


def reset(connection: Connection, *, account_id: int) -> int:
    """Ends all credentials and access tokens of the account; gives the number of credentials."""
    ended = connection.execute(delete(Credential).where(Credential.account_id == account_id))
    _void_tokens(connection, account_id)
    return ended.rowcount


def _void_tokens(connection: Connection, account_id: int) -> None:
    connection.execute(update(Account).where(Account.id == account_id).values(epoch=Account.epoch + 1))


def void_tokens(connection: Connection, *, account_id: int, epoch: int) -> None:
    """Ends the access tokens of this epoch; does nothing when a newer one has begun."""
    connection.execute(
        update(Account).where(Account.id == account_id, Account.epoch == epoch).values(epoch=epoch + 1)
    )


def listing(connection: Connection, *, account_id: int) -> tuple[CredentialInfo, ...]:
    """The account's credentials, oldest first."""
    rows = connection.execute(
        select(Credential.kid, Credential.created_at, Credential.used_at)
        .where(Credential.account_id == account_id)
        .order_by(Credential.created_at, Credential.kid)
    )
    return tuple(CredentialInfo(kid=kid, created_at=made, used_at=used) for kid, made, used in rows)


def find(connection: Connection, name: str) -> Holder | None:
    """The account of this name with its proofs; None when there is none."""
    account = connection.execute(
        select(Account.id, Account.kind, Account.state, Account.epoch).where(Account.name == name)
    ).one_or_none()
    if account is None:
        return None
    proofs = connection.execute(
        select(Credential.kid, Credential.public_jwk, Credential.secret_sha256).where(
            Credential.account_id == account.id
        )
    ).all()
    return Holder(
        account_id=account.id,
        name=name,
        kind=account.kind,
        locked=account.state == "locked",
        epoch=account.epoch,
        keys={kid: orjson.loads(jwk) for kid, jwk, _ in proofs if jwk is not None},
        secrets={kid: digest for kid, _, digest in proofs if digest is not None},
    )


def standing(connection: Connection, *, account_id: int) -> tuple[str, int] | None:
    """The account's state and epoch now; None when there is no such account."""
    row = connection.execute(
        select(Account.state, Account.epoch).where(Account.id == account_id)
    ).one_or_none()
    return None if row is None else (row.state, row.epoch)


def spend(connection: Connection, *, account: str, jti: str, at: datetime) -> None:
    """Records that the assertion was used; raises SQLAlchemy's IntegrityError if it was before."""
    connection.execute(insert(Reply).values(caller=f"account:{account}", key=f"jti:{jti}", at=at))


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
