"""Things that own jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from outsourced.owners import owner_of
from outsourced.records import Owner


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    number: Mapped[int] = mapped_column("no", primary_key=True)


class Seat(Base):
    __tablename__ = "seats"
    row: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[str] = mapped_column(primary_key=True)


@dataclass
class Thing:
    id: Any


class Proxy:
    """As flask_login.current_user: says it is of the class it stands for."""

    __class__ = Thing  # type: ignore[assignment]
    id = 3


@pytest.mark.parametrize(
    ("thing", "owner"),
    [
        (Owner(type="A", id="1"), ("A", "1")),
        (("User", 5), ("User", "5")),
        ((User, 5), ("User", "5")),
        (Thing(id=0), ("Thing", "0")),
        (User(number=7), ("User", "7")),
        (Seat(row=1, place="b"), ("Seat", "1,b")),
        (Proxy(), ("Thing", "3")),
    ],
)
def test_owner_of_gives_class_and_key(thing: Any, owner: tuple[str, str]) -> None:
    assert owner_of(thing) == Owner(type=owner[0], id=owner[1])


@pytest.mark.parametrize("thing", [Thing(id=None), User(), Seat(row=1), ("User", None)])
def test_owner_of_refuses_a_thing_without_its_id_yet(thing: Any) -> None:
    with pytest.raises(ValueError, match="no id yet"):
        owner_of(thing)


@pytest.mark.parametrize("thing", [object(), "User", 5, User, (5, 5)])
def test_owner_of_refuses_what_is_no_thing(thing: Any) -> None:
    with pytest.raises(TypeError):
        owner_of(thing)
