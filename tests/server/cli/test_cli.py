"""`flask outsourcer …` as people type it: what it does, says, and ends with."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from flask import Flask
from joserfc.jwk import ECKey

import outsourced
from outsourced.progress import progress_of
from outsourced.records import ExchangeRequest, Held, Instance, Told
from outsourced.server.services import Services
from outsourced.sql import migrate, overview
from outsourced.sql.consumer import SqlConsumer
from tests.server.cli.conftest import URL, Cli, refused, runner_of
from tests.server.conftest import make_app, services_of

TASK = "tests.nowhere.add"


# --- init and db


def test_init_sets_up_once(do: Callable[..., str], services: Services) -> None:
    first, again = do("init", URL), do("init")
    assert "set up now" in first
    assert "set up before" in again
    assert f"Workers reach this server at {URL}." in again
    assert services.authorization_server is not None


def test_init_says_what_a_new_address_means(do: Callable[..., str]) -> None:
    do("init", URL)
    assert f"It was {URL}, which the configuration files written so far still name" in do("init", f"{URL}/2")


def test_init_without_an_address_says_what_is_missing(do: Callable[..., str]) -> None:
    assert "flask outsourcer init https://" in do("init")


def test_init_refuses_what_is_no_address(run: Cli) -> None:
    result = run("init", "jobs.example.com")
    assert result.exit_code == 2
    assert "https://app.example.com/outsourced" in result.output


def test_init_without_secret_key_says_how_to_make_one(app: Flask, run: Cli) -> None:
    app.secret_key = None
    assert "secrets.token_hex" in refused(run("init", URL))


def test_init_notices_a_changed_secret_key(app: Flask, run: Cli, do: Callable[..., str]) -> None:
    do("init", URL)
    app.secret_key = "another"
    assert "SECRET_KEY is not the one" in refused(run("init"))


def test_commands_before_the_migrations_name_init(tmp_path: Path) -> None:
    app = make_app(tmp_path, f"sqlite:///{tmp_path / 'empty.sqlite'}")
    for words in (["worker", "list"], ["queue", "create", "stuff"], ["job", "list"], ["stats"], ["audit"]):
        assert "run `flask outsourcer init`" in refused(runner_of(app)(*words))
    services_of(app).stop()


def test_commands_on_an_unreachable_database_say_where_its_address_is_from(tmp_path: Path) -> None:
    app = make_app(tmp_path, "postgresql://nobody@127.0.0.1:1/nothing")
    message = refused(runner_of(app)("worker", "list"))
    assert "OUTSOURCED_DATABASE_URL" in message
    services_of(app).stop()


def test_db_goes_down_and_up(run: Cli, do: Callable[..., str]) -> None:
    assert migrate.head() in do("db", "current")
    assert json.loads(do("db", "current", "--json"))["current"] == migrate.head()
    assert run("db", "downgrade", "base", input="n\n").exit_code == 1
    do("db", "check")
    do("db", "downgrade", "base", "--yes")
    assert "db upgrade" in refused(run("db", "check"))
    assert "CREATE TABLE outsourced_jobs" in do("db", "upgrade", "--sql")
    do("db", "upgrade")
    do("db", "check")
    assert "DROP TABLE outsourced_jobs" in do("db", "downgrade", "base", "--sql")
    assert "already" in do("db", "upgrade")


# --- workers and queues


@pytest.mark.usefixtures("staffed")
def test_the_first_queue_becomes_the_default_and_is_said_to_be_unlimited(do: Callable[..., str]) -> None:
    assert "unlimited" in do("queue", "create", "other")
    assert "5 jobs at most" in do("queue", "create", "small", "-c", "5")
    listed = {row["name"]: row for row in json.loads(do("queue", "list", "--json"))}
    assert {name: (row["default"], row["capacity"]) for name, row in listed.items()} == {
        "stuff": (True, None),
        "other": (False, None),
        "small": (False, 5),
    }


@pytest.mark.usefixtures("staffed")
def test_hiring_twice_says_already(do: Callable[..., str]) -> None:
    assert "already works queue 'stuff'" in do("queue", "hire", "phill")
    assert "already works queue 'stuff'" in do("worker", "hire", "phill", "stuff")


@pytest.mark.usefixtures("staffed")
def test_hiring_names_the_queues_where_there_are_several(run: Cli, do: Callable[..., str]) -> None:
    do("queue", "create", "other")
    result = run("queue", "hire", "phill")
    assert result.exit_code == 2
    assert "other, stuff" in result.output
    do("queue", "hire", "other", "phill")
    assert json.loads(do("worker", "show", "phill", "--json"))["queues"] == ["other", "stuff"]


def test_hiring_before_there_is_a_queue_says_how_to_make_one(run: Cli, do: Callable[..., str]) -> None:
    do("worker", "create", "phill")
    assert "flask outsourcer queue create" in refused(run("queue", "hire", "phill"))


@pytest.mark.usefixtures("staffed")
def test_unknown_names_are_answered_with_those_like_them(run: Cli) -> None:
    assert "did you mean 'phill'" in refused(run("worker", "show", "phil"))
    assert "did you mean 'stuff'" in refused(run("queue", "pause", "stuf"))
    assert "there is a worker 'phill' already" in refused(run("worker", "create", "phill"))


@pytest.mark.usefixtures("staffed")
def test_stopping_a_worker_and_letting_it_go_on(do: Callable[..., str]) -> None:
    for verb, said, back, said_then in (
        ("pause", "now paused", "resume", "given jobs again"),
        ("lock", "now locked out", "unlock", "let in again"),
    ):
        assert said in do("worker", verb, "phill")
        assert "already" in do("worker", verb, "phill")
        assert said_then in do("worker", back, "phill")
        assert "not" in do("worker", back, "phill")
    assert "now paused" in do("queue", "pause", "stuff")
    assert "paused" in do("queue", "list")
    assert "open again" in do("queue", "resume", "stuff")


@pytest.mark.usefixtures("staffed")
def test_fire_asks_only_where_begun_work_is_lost(run: Cli, do: Callable[..., str]) -> None:
    assert run("worker", "fire", "phill", "stuff", "--jobs", "cancel", input="n\n").exit_code == 1
    assert "no longer works" in do("queue", "fire", "phill")
    assert "does not work" in do("queue", "fire", "stuff", "phill", "--jobs", "release", "--yes")


@pytest.mark.usefixtures("staffed")
def test_change_does_what_it_is_told_and_nothing_else(run: Cli, do: Callable[..., str]) -> None:
    assert run("queue", "change", "stuff").exit_code == 2
    assert "changed" in do("queue", "change", "stuff", "-c", "10")
    assert "like that already" in do("queue", "change", "stuff", "-c", "10", "--default")


@pytest.mark.usefixtures("staffed")
def test_audit_tells_who_did_what(do: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "zaphod")
    do("worker", "lock", "phill")
    latest = json.loads(do("audit", "phill", "--json"))[0]
    assert (latest["actor"], latest["act"], latest["subject"]) == ("admin:zaphod", "worker.lock", "phill")
    assert "zaphod" in do("audit")


# --- worker config


def config_of(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


@pytest.mark.usefixtures("staffed")
def test_config_writes_a_file_for_its_owner_alone(run: Cli, services: Services, tmp_path: Path) -> None:
    result = run("worker", "config", "-o", "foo.yml", "--include", "myapp_tasks", "phill")
    assert result.exit_code == 0, result.output
    assert "outsourced_worker foo.yml" in result.stderr
    assert "Warning" not in result.stderr

    file = tmp_path / "foo.yml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    config = config_of(file)
    (credential,) = overview.worker(services.database, "phill").credentials
    assert (config["url"], config["worker"], config["include"]) == (URL, "phill", ["myapp_tasks"])
    key = ECKey.import_key(config["private_key"])
    assert config["key_id"] == key.thumbprint() == credential.kid
    assert config["private_key"].startswith("-----BEGIN PRIVATE KEY-----\n")


@pytest.mark.usefixtures("staffed")
def test_config_is_what_the_worker_reads(do: Callable[..., str], tmp_path: Path) -> None:
    from outsourced_worker.config import load_config

    do("worker", "config", "-o", "foo.yml", "--include", "myapp_tasks", "phill")
    config, warnings = load_config(tmp_path / "foo.yml", {}, {})
    assert (config.url, config.worker, config.include) == (URL, "phill", ("myapp_tasks",))
    assert warnings == []


@pytest.mark.usefixtures("staffed")
def test_config_keeps_a_file_that_is_there(
    run: Cli, do: Callable[..., str], services: Services, tmp_path: Path
) -> None:
    file = tmp_path / "foo.yml"
    file.write_text("precious")
    assert "exists already" in refused(run("worker", "config", "-o", "foo.yml", "phill"))
    assert file.read_text() == "precious"
    assert overview.worker(services.database, "phill").credentials == ()

    do("worker", "config", "-o", "foo.yml", "--force", "phill")
    assert config_of(file)["worker"] == "phill"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob("*foo.yml*")] == ["foo.yml"]


@pytest.mark.usefixtures("staffed")
def test_config_refused_leaves_neither_file_nor_credential(run: Cli, tmp_path: Path) -> None:
    for number in range(5):
        assert run("worker", "config", "-o", f"{number}.yml", "phill").exit_code == 0
    assert "revoke one first" in refused(run("worker", "config", "-o", "sixth.yml", "phill"))
    assert not (tmp_path / "sixth.yml").exists()
    assert "cannot be written" in refused(run("worker", "config", "-o", "no/such/foo.yml", "phill"))


@pytest.mark.usefixtures("staffed")
def test_config_without_a_file_prints_nothing_but_it(run: Cli) -> None:
    result = run("worker", "config", "phill")
    assert yaml.safe_load(result.stdout)["worker"] == "phill"


def test_config_warns_of_what_will_not_work(run: Cli, do: Callable[..., str]) -> None:
    do("init", "http://jobs.example.com/outsourced")
    do("worker", "create", "phill")
    result = run("worker", "config", "phill")
    assert "is not https" in result.stderr
    assert "flask outsourcer queue hire [QUEUE] phill" in result.stderr


def test_config_without_an_address_names_init(run: Cli, do: Callable[..., str]) -> None:
    do("worker", "create", "phill")
    assert "flask outsourcer init" in refused(run("worker", "config", "phill"))
    do("init")
    assert "flask outsourcer init https://" in refused(run("worker", "config", "phill"))


def test_config_takes_the_address_of_the_configuration_first(tmp_path: Path, sqlite_url: str) -> None:
    app = make_app(tmp_path, sqlite_url, OUTSOURCED_URL="https://other.example.com/jobs")
    run = runner_of(app)
    run("init", URL)
    run("worker", "create", "phill")
    assert yaml.safe_load(run("worker", "config", "phill").stdout)["url"] == "https://other.example.com/jobs"
    services_of(app).stop()


@pytest.mark.usefixtures("staffed")
def test_revoke_and_reset_ask(run: Cli, do: Callable[..., str]) -> None:
    kids = [yaml.safe_load(do("worker", "config", "phill"))["key_id"] for _ in range(3)]
    assert run("worker", "revoke", "phill", kids[0], input="n\n").exit_code == 1
    do("worker", "revoke", "phill", kids[0], input="y\n")
    assert "no credential" in refused(run("worker", "revoke", "phill", kids[0], "--yes"))
    for kid in ("-cY_1", "-xy-y", "-y", "--y"):
        assert f"no credential {kid}:" in refused(run("worker", "revoke", "phill", kid, "--yes"))
    assert "2 ended" in do("worker", "reset", "phill", "--yes")
    assert json.loads(do("worker", "show", "phill", "--json"))["credentials"] == []


# --- jobs


@pytest.mark.usefixtures("staffed")
def test_job_show_tells_how_far_its_task_is(do: Callable[..., str], services: Services) -> None:
    job_id = json.loads(do("job", "enqueue", TASK, "[]", "--json"))["id"]
    (worker,) = (info.name for info in overview.workers(services.database))
    consumer = SqlConsumer(services.backend, worker)
    say = partial(ExchangeRequest, instance=Instance(id=uuid4(), host="here", pid=1, version="1"))
    (lease,) = consumer.exchange(say(claim_id=uuid4(), slots=1, tasks=(TASK,))).leases
    told = Told(lease_id=lease.id, job_id=lease.job_id, number=1, progress=progress_of("PROGRESS", {"a": 1}))
    consumer.exchange(say(begun=(Held(lease_id=lease.id, job_id=lease.job_id),), progress=(told,)))
    assert 'PROGRESS {"a":1}' in do("job", "show", job_id)
    shown = json.loads(do("job", "show", job_id, "--json"))
    assert shown["progress"] == {"state": "PROGRESS", "meta": {"a": 1}}


@pytest.mark.usefixtures("staffed")
def test_a_job_from_enqueue_to_retry(run: Cli, do: Callable[..., str]) -> None:
    enqueued = json.loads(do("job", "enqueue", TASK, '[1, {"$date": "2026-01-31"}]', "--json"))
    job_id = enqueued["id"]
    assert (enqueued["task"], enqueued["queue"], enqueued["state"]) == (TASK, "stuff", "unassigned")

    shown = do("job", "show", job_id)
    assert "no worker hired for this queue is connected" in shown
    assert json.loads(do("job", "show", job_id, "--json"))["args"] == [1, {"$dict": {"$date": "2026-01-31"}}]

    assert run("job", "cancel", job_id, input="n\n").exit_code == 1
    assert "is cancelled" in do("job", "cancel", job_id, "--yes")
    assert "had ended" not in do("job", "cancel", job_id, "--yes")
    assert "is unassigned again" in do("job", "retry", job_id)
    assert "only an ended job" in refused(run("job", "retry", job_id))

    history = json.loads(do("job", "history", job_id, "--json"))
    assert list(history[0]) == [
        "seq", "from", "to", "event", "attempt", "actor", "lease_id", "at", "reason", "error",
    ]  # fmt: skip
    assert [(row["from"], row["to"], row["event"]) for row in history] == [
        (None, "unassigned", "enqueue"),
        ("unassigned", "cancelled", "cancel"),
        ("cancelled", "unassigned", "retry"),
    ]
    assert all(row["actor"].startswith("admin:") for row in history)
    assert "cancelled" in do("job", "history", job_id)


@pytest.mark.usefixtures("staffed")
def test_jobs_are_listed_by_queue_state_and_task(run: Cli, do: Callable[..., str]) -> None:
    do("queue", "create", "other")
    for queue, task in (("stuff", "a"), ("stuff", "b"), ("other", "a")):
        do("job", "enqueue", task, "--queue", queue)

    def listed(*options: str) -> list[tuple[str, str]]:
        return [(row["queue"], row["task"]) for row in json.loads(do("job", "list", "--json", *options))]

    assert listed() == [("other", "a"), ("stuff", "b"), ("stuff", "a")]
    assert listed("--queue", "stuff", "--task", "a") == [("stuff", "a")]
    assert listed("--state", "completed") == []
    assert listed("--limit", "1") == [("other", "a")]
    assert run("job", "list", "--state", "pending").exit_code == 2


@pytest.mark.usefixtures("staffed")
def test_enqueue_takes_keyword_arguments_and_refuses_what_is_not_json(
    run: Cli, do: Callable[..., str]
) -> None:
    enqueued = json.loads(do("job", "enqueue", TASK, '{"x": 1}', "--json"))
    assert json.loads(do("job", "show", enqueued["id"], "--json"))["kwargs"] == {"x": 1}
    for arguments in ("[1,", "NaN", "1", '"text"'):
        assert run("job", "enqueue", TASK, arguments).exit_code == 2
    assert "there is no queue 'stuf'" in refused(run("job", "enqueue", TASK, "--queue", "stuf"))


def test_enqueue_for_nobody_warns(run: Cli, do: Callable[..., str]) -> None:
    do("queue", "create", "stuff")
    result = run("job", "enqueue", TASK)
    assert result.exit_code == 0
    assert "flask outsourcer queue hire stuff WORKER" in result.stderr


@pytest.mark.usefixtures("staffed")
def test_unknown_and_malformed_job_ids(run: Cli) -> None:
    absent = "01a20c57-8c72-7e73-840d-32a8c5de8a8e"
    for words in (["show", absent], ["history", absent], ["cancel", "--yes", absent], ["retry", absent]):
        assert "no" in refused(run("job", *words))
    assert run("job", "show", "17").exit_code == 2


# --- the whole


@pytest.mark.usefixtures("staffed")
def test_stats_and_maintain(do: Callable[..., str]) -> None:
    do("job", "enqueue", TASK)
    assert "last tick  never" in do("stats")
    assert "promote: 0" in do("maintain", "--once")
    assert "Nothing is due." in do("maintain", "--once")
    figures = json.loads(do("stats", "--json"))
    assert (figures["jobs"], figures["queues"], figures["workers"]) == ({"unassigned": 1}, 1, 1)
    assert figures["alive_at"] is not None


@pytest.mark.usefixtures("staffed")
def test_prune_asks_and_says_what_went(run: Cli, do: Callable[..., str], services: Services) -> None:
    job_id = json.loads(do("job", "enqueue", TASK, "--json"))["id"]
    do("job", "cancel", "--yes", job_id)
    assert do("prune", "--yes") == "There is nothing old enough.\n"
    services.database.clock_offset += timedelta(days=8)
    asked = run("prune", input="n\n")
    assert asked.exit_code == 1
    assert "ended more than 90 d ago, other ended jobs after 7 d, and results after 1 d" in asked.output
    assert "Deleted 1 completed jobs." in do("prune", input="y\n")
    assert "no job" in refused(run("job", "show", job_id))


def test_empty_listings_say_what_to_type(do: Callable[..., str]) -> None:
    assert "flask outsourcer worker create" in do("worker", "list")
    assert "flask outsourcer queue create" in do("queue", "list")
    assert "flask outsourcer job enqueue" in do("job", "list")
    for words in (["worker", "list"], ["queue", "list"], ["job", "list"], ["audit"]):
        assert json.loads(do(*words, "--json")) == []


@pytest.mark.usefixtures("staffed")
def test_empty_listings_say_what_was_looked_for_and_what_may_be_meant(
    run: Cli, do: Callable[..., str]
) -> None:
    assert (
        do("job", "list", "-q", "stuff", "-s", "failed")
        == "There is no job in queue 'stuff', in state failed\n"
    )
    assert "did you mean 'stuff'?" in refused(run("job", "list", "-q", "stuf"))
    do("job", "enqueue", TASK)
    assert f"did you mean {TASK!r}?" in do("job", "list", "-t", "add")
    assert "did you mean" not in do("job", "list", "-t", TASK, "-s", "failed")
    assert "to 'phil'" in do("audit", "phil")


@pytest.mark.usefixtures("staffed", "forget_tasks")
def test_enqueue_of_a_task_this_app_lacks_warns(run: Cli) -> None:
    @outsourced.task(name="myapp_tasks.render")
    def render() -> None: ...

    assert "did you mean 'myapp_tasks.render'?" in run("job", "enqueue", "myapp_tasks.rendr").stderr
    assert "it runs if a worker knows it" in run("job", "enqueue", "zzz").stderr
    assert run("job", "enqueue", "myapp_tasks.render").stderr == ""


# --- in a line, and for good


@pytest.mark.usefixtures("staffed")
def test_stats_say_a_line_for_each(run: Cli, do: Callable[..., str]) -> None:
    do("queue", "create", "small", "-c", "5")
    do("job", "enqueue", TASK, "[1]", "--queue", "small")
    assert do("queue", "stats").splitlines() == [
        "small: 1 of 5 jobs, 0 workers; 1 unassigned",
        "stuff: 0 jobs, unlimited, 1 worker; nothing ever",
    ]
    assert do("worker", "stats") == "phill: active, works stuff; no job yet\n"
    assert "there is no queue 'smal'" in refused(run("queue", "stats", "smal"))
    assert "there is no worker 'phil'" in refused(run("worker", "stats", "phil"))


@pytest.mark.usefixtures("staffed")
def test_empty_and_destroy_ask_and_say_what_went(run: Cli, do: Callable[..., str]) -> None:
    do("job", "enqueue", TASK, "[1]")
    assert "queue empty stuff" in refused(run("queue", "destroy", "stuff", "--yes"))
    assert run("queue", "empty", "stuff", input="n\n").exit_code == 1
    assert "1 jobs cancelled" in do("queue", "empty", "stuff", "--yes")
    assert "1 ended jobs are forgotten" in do("queue", "destroy", "stuff", input="y\n")
    assert "is destroyed" in do("worker", "destroy", "phill", "--yes")
    assert "There is no worker yet" in do("worker", "list")
