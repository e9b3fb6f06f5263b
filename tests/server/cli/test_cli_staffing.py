"""`worker hire`, `queue fire` and so on: what they say of names that are mixed up."""

from __future__ import annotations

import pytest

from tests.server.cli.conftest import Cli, refused


@pytest.mark.usefixtures("staffed")
@pytest.mark.parametrize("verb", ["hire", "fire"])
def test_hire_and_fire_of_mixed_up_names_say_what_was_meant(run: Cli, verb: str) -> None:
    both = f"`flask outsourcer worker {verb} phill stuff`, or `flask outsourcer queue {verb} stuff phill`"
    swapped = f"'stuff' is a queue and 'phill' is a worker: {both}"
    assert swapped in refused(run("queue", verb, "phill", "stuff"))
    assert swapped in refused(run("worker", verb, "stuff", "phill"))

    new_queue = refused(run("queue", verb, "phill", "mail"))
    assert "'phill' is a worker: " in new_queue
    assert f"`flask outsourcer worker {verb} phill QUEUE`" in new_queue
    no_worker = refused(run("queue", verb, "stuff"))
    assert "'stuff' is a queue: " in no_worker
    assert f"`flask outsourcer queue {verb} stuff WORKER`" in no_worker
    assert "there is no queue 'mail'" in refused(run("worker", verb, "phill", "mail"))

    several = run("queue", verb, "phill", "stuff", "mail")
    assert several.exit_code == 2
    assert f"worker {verb} WORKER QUEUE…" in several.stderr
