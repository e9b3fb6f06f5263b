"""The installation's row: made once, whoever runs `init` how often."""

from __future__ import annotations

import threading

import pytest

from outsourced.errors import ConfigurationError, SchemaOutdated
from outsourced.sql import audit, installation, migrate
from outsourced.sql.database import Database

URL = "https://jobs.example.com/outsourced"


def test_read_before_initialise_names_the_command(database: Database) -> None:
    assert installation.find(database) is None
    with pytest.raises(ConfigurationError, match="flask outsourcer init"):
        installation.read(database)


def test_read_without_tables_names_the_command(database: Database) -> None:
    migrate.downgrade(database, "base")
    with pytest.raises(SchemaOutdated, match="flask outsourcer init"):
        installation.read(database)


def test_initialise_twice_keeps_id_and_key(database: Database) -> None:
    first = installation.initialise(database, url=URL, signing_key="a key")
    again = installation.initialise(database, url=None, signing_key="another key")
    assert again == first == installation.read(database)
    assert (first.url, first.signing_key) == (URL, "a key")


def test_initialise_stores_later_what_was_missing(database: Database) -> None:
    first = installation.initialise(database, url=None, signing_key=None)
    assert (first.url, first.signing_key) == (None, None)
    second = installation.initialise(database, url=URL, signing_key="a key")
    assert (second.uuid, second.url, second.signing_key) == (first.uuid, URL, "a key")


def test_initialise_replaces_the_url_it_is_given(database: Database) -> None:
    installation.initialise(database, url=URL, signing_key=None)
    assert installation.initialise(database, url=f"{URL}/2", signing_key=None).url == f"{URL}/2"
    assert [entry.details for entry in audit.entries(database)] == [{"url": f"{URL}/2"}, {"url": URL}, {}]


def test_initialise_by_many_at_once_makes_one_installation(database: Database) -> None:
    made = []
    starters = [
        threading.Thread(
            target=lambda key: made.append(installation.initialise(database, url=URL, signing_key=key)),
            args=(f"key {number}",),
        )
        for number in range(4)
    ]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert len(made) == 4
    assert len({(facts.uuid, facts.signing_key) for facts in made}) == 1


def test_the_signing_key_is_not_shown(database: Database) -> None:
    assert "secret" not in repr(installation.initialise(database, url=URL, signing_key="secret"))
