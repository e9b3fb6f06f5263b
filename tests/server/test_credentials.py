"""Workers' public keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey
from sqlalchemy import insert, select, update

from outsourced import clock
from outsourced.errors import AlreadyExists, InvalidRequest, NotFound
from outsourced.sql import credentials
from outsourced.sql.database import Database
from outsourced.sql.models import Credential, Worker


@pytest.fixture
def worker_id(database: Database) -> int:
    def write(connection: Any) -> int:
        made = connection.execute(insert(Worker).values(name="phill", kind="worker", created_at=clock.now()))
        (number,) = made.inserted_primary_key
        return int(number)

    return database.write(write)


def new_jwk() -> dict[str, Any]:
    return dict(ECKey.generate_key("P-256").as_dict(private=False))


def add(database: Database, worker_id: int, jwk: dict[str, Any]) -> str:
    return database.write(lambda c: credentials.add(c, account_id=worker_id, public_jwk=jwk))


def epoch_of(database: Database, worker_id: int) -> int:
    with database.connect() as connection:
        standing = credentials.standing(connection, account_id=worker_id)
    assert standing is not None
    return standing[1]


def test_add_names_the_key_by_its_thumbprint(database: Database, worker_id: int) -> None:
    jwk = new_jwk()
    kid = add(database, worker_id, jwk)
    assert kid == ECKey.import_key(jwk).thumbprint()
    with database.connect() as connection:
        holder = credentials.find(connection, "phill")
        listed = credentials.listing(connection, account_id=worker_id)
    assert holder is not None
    assert holder.keys[kid]["x"] == jwk["x"]
    assert [entry.kid for entry in listed] == [kid]
    assert listed[0].used_at is None


def test_add_never_stores_the_private_part(database: Database, worker_id: int) -> None:
    add(database, worker_id, dict(ECKey.generate_key("P-256").as_dict(private=True)))
    with database.connect() as connection:
        assert '"d"' not in str(connection.scalar(select(Credential.public_jwk)))


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "c2VjcmV0"},
        RSAKey.generate_key(2048).as_dict(private=False),
        ECKey.generate_key("P-384").as_dict(private=False),
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        {"kty": "EC", "crv": "P-256", "x": 1, "y": None},
    ],
    ids=["nothing", "symmetric", "RSA", "P-384", "not on the curve", "no text"],
)
def test_add_refuses_other_keys(database: Database, worker_id: int, jwk: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        add(database, worker_id, jwk)


def test_add_refuses_a_key_on_record_and_the_sixth(database: Database, worker_id: int) -> None:
    jwk = new_jwk()
    add(database, worker_id, jwk)
    with pytest.raises(AlreadyExists):
        add(database, worker_id, jwk)
    for _ in range(4):
        add(database, worker_id, new_jwk())
    with pytest.raises(AlreadyExists, match="5 credentials"):
        add(database, worker_id, new_jwk())


def test_revoke_ends_one_key_and_all_tokens(database: Database, worker_id: int) -> None:
    kid, other = add(database, worker_id, new_jwk()), add(database, worker_id, new_jwk())
    database.write(lambda c: credentials.revoke(c, account_id=worker_id, kid=kid))
    with database.connect() as connection:
        assert [entry.kid for entry in credentials.listing(connection, account_id=worker_id)] == [other]
    assert epoch_of(database, worker_id) == 1
    with pytest.raises(NotFound):
        database.write(lambda c: credentials.revoke(c, account_id=worker_id, kid=kid))
    assert epoch_of(database, worker_id) == 1


def test_reset_ends_all_keys_and_tokens(database: Database, worker_id: int) -> None:
    add(database, worker_id, new_jwk())
    add(database, worker_id, new_jwk())
    assert database.write(lambda c: credentials.reset(c, account_id=worker_id)) == 2
    assert epoch_of(database, worker_id) == 1


def test_void_tokens_of_an_older_epoch_does_nothing(database: Database, worker_id: int) -> None:
    for _ in range(2):
        database.write(lambda c: credentials.void_tokens(c, account_id=worker_id, epoch=0))
    assert epoch_of(database, worker_id) == 1


def test_touch_writes_at_most_once_a_minute(database: Database, worker_id: int) -> None:
    kid = add(database, worker_id, new_jwk())

    def touched() -> Any:
        database.write(lambda c: credentials.touch(c, kid))
        with database.connect() as connection:
            return credentials.listing(connection, account_id=worker_id)[0].used_at

    first = touched()
    assert touched() == first
    earlier = first - timedelta(minutes=2)
    database.write(lambda c: c.execute(update(Credential).values(used_at=earlier)))
    assert touched() >= first
