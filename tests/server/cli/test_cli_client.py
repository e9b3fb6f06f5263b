"""`flask outsourcer client …` and `worker allow`: who may enqueue, and into what."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import outsourced
from outsourced.server.services import Services
from outsourced.sql import credentials
from tests.server.cli.conftest import Cli, refused


@pytest.fixture
def shop(staffed: None, do: Callable[..., str]) -> None:
    do("client", "create", "shop")


@pytest.mark.usefixtures("shop")
def test_client_is_allowed_and_denied(do: Callable[..., str]) -> None:
    assert "may now enqueue" in do("client", "allow", "shop", "stuff")
    assert "may already" in do("client", "allow", "shop", "stuff")
    (listed,) = json.loads(do("client", "list", "--json"))
    assert (listed["name"], listed["queues"]) == ("shop", ["stuff"])
    assert "may no longer" in do("client", "deny", "shop", "stuff")
    assert "was not allowed" in do("client", "deny", "shop", "stuff")
    assert "client allow shop" in do("client", "show", "shop")


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("options", [[], ["--secret"]])
def test_config_writes_what_a_client_reads(do: Callable[..., str], options: list[str]) -> None:
    do("client", "config", "-o", "shop.yml", "shop", *options)
    assert stat.S_IMODE(Path("shop.yml").stat().st_mode) == 0o600
    client = outsourced.Client("shop.yml")
    assert client.name == "shop"
    client.close()


@pytest.mark.usefixtures("shop")
def test_secret_is_kept_as_its_digest(do: Callable[..., str], services: Services) -> None:
    secret = yaml.safe_load(do("client", "config", "shop", "--secret"))["secret"]
    with services.database.connect() as connection:
        holder = credentials.find(connection, "shop")
    assert holder is not None
    assert list(holder.secrets.values()) == [credentials.digest_of(secret)]
    assert not holder.keys


@pytest.mark.usefixtures("shop")
def test_names_of_workers_and_clients_are_one_space(run: Cli) -> None:
    assert "already" in refused(run("worker", "create", "shop"))
    assert "already" in refused(run("client", "create", "phill"))
    assert "there is no client 'phill'" in refused(run("client", "lock", "phill"))
    assert "there is no worker 'shop'" in refused(run("worker", "lock", "shop"))


@pytest.mark.usefixtures("shop")
def test_client_is_locked_out_and_let_in(do: Callable[..., str]) -> None:
    assert "now locked out" in do("client", "lock", "shop")
    assert json.loads(do("client", "show", "shop", "--json"))["state"] == "locked"
    assert "let in again" in do("client", "unlock", "shop")


@pytest.mark.usefixtures("staffed")
def test_worker_is_allowed_a_queue_for_its_tasks(do: Callable[..., str]) -> None:
    do("queue", "create", "other")
    assert "may now enqueue into 'other'" in do("worker", "allow", "phill", "other")
    assert "may no longer" in do("worker", "deny", "phill", "other")
    (latest, *_) = json.loads(do("audit", "--json"))
    assert (latest["act"], latest["details"]) == ("worker.deny", {"queue": "other"})
