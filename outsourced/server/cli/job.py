"""`job`: enqueue jobs, see how they fare and why they wait, cancel and retry them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click
import orjson
from flask.cli import AppGroup
from uuid6 import uuid7

from outsourced import payload
from outsourced.errors import NotFound, OutsourcedError
from outsourced.records import Failure, Job, NewJob, Transition
from outsourced.registry import registry
from outsourced.server.cli.group import actor, confirm, json_option, yes_option
from outsourced.server.cli.output import plain, print_facts, print_json, print_table
from outsourced.server.services import here
from outsourced.sql import overview
from outsourced.sql.waiting import why_waiting
from outsourced.states import State
from outsourced.wording import similar

commands = AppGroup("job", help="Jobs: enqueue, list, show, history, cancel, retry.")

job_id = click.argument("job_id", metavar="ID", type=click.UUID)
job_ids = click.argument("job_ids", metavar="ID…", nargs=-1, required=True, type=click.UUID)


@commands.command("list")
@click.option("-q", "--queue", help="Only of this queue.")
@click.option("-s", "--state", type=click.Choice([str(state) for state in State]), help="Only in this state.")
@click.option("-t", "--task", help="Only of this task.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True)
@json_option
def list_(*, queue: str | None, state: str | None, task: str | None, limit: int, as_json: bool) -> None:
    """Shows the newest jobs first."""
    wanted = None if state is None else State(state)
    jobs = here().backend.jobs(queue=queue, state=wanted, task=task, limit=limit)
    if as_json:
        print_json([_listed(found) for found in jobs])
        return
    rows = [
        (found.id, found.task, found.queue, found.state, found.attempt, found.created_at, found.worker)
        for found in jobs
    ]
    titles = ("ID", "TASK", "QUEUE", "STATE", "ATTEMPT", "CREATED", "WORKER")
    print_table(titles, rows, empty=_nothing(queue, state, task))


def _nothing(queue: str | None, state: str | None, task: str | None) -> str:
    """What to say where the listing is empty."""
    wanted = [f"in queue {queue!r}"] if queue else []
    wanted += [f"in state {state}"] if state else []
    wanted += [f"of task {task!r}"] if task else []
    if not wanted:
        return "There is no job yet: `flask outsourcer job enqueue TASK`, or `.delay()` in the app"
    known = here().backend.names.tasks()
    return f"There is no job {', '.join(wanted)}{similar(task, known) if task and task not in known else ''}"


@commands.command()
@job_id
@json_option
def show(job_id: UUID, *, as_json: bool) -> None:
    """Shows one job: arguments, result or error, files, and why it waits."""
    found = _find(job_id)
    why = why_waiting(here().database, found)
    if as_json:
        print_json(_listed(found) | _detailed(found) | {"waits_because": why})
        return
    print_facts(
        [
            ("id", found.id),
            ("task", found.task),
            ("queue", found.queue),
            ("state", found.state if found.reason is None else f"{found.state} ({found.reason})"),
            ("waits because", why),
            ("progress", found.progress and f"{found.progress.state} {found.progress.meta}"),
            ("worker", found.worker),
            ("owner", found.owner and f"{found.owner.type} {found.owner.id}"),
            ("priority", found.priority),
            ("attempt", found.attempt),
            ("failures", f"{found.failures} of {_budget(found.max_retries)} retries used"),
            ("losses", f"{found.losses} of {found.max_losses}"),
            ("created", found.created_at),
            ("runs at", found.runs_at),
            ("gets stuck at", found.gets_stuck_at),
            ("expires at", found.expires_at),
            ("repeats after fail at", found.repeats_after_fail_at),
            ("repeats after complete at", found.repeats_after_complete_at),
            ("repeat of", found.repeat_of),
            ("begun", found.begun_at),
            ("ended", found.ended_at),
            ("cancel asked", found.cancel_requested_at),
            ("arguments", found.payload),
            ("result", "no longer kept" if found.result_pruned else found.result),
            ("error", found.error and _error_text(found.error)),
            *(("file", f"{f.name} ({f.size} bytes, {f.content_type})") for f in found.files),
        ]
    )


@commands.command()
@job_id
@json_option
def history(job_id: UUID, *, as_json: bool) -> None:
    """Shows all that ever happened to a job, with full errors."""
    _find(job_id)
    transitions = here().backend.history(job_id)
    if as_json:
        print_json([_transition(row) for row in transitions])
        return
    rows = [
        (row.seq, row.at, row.event, row.from_state, row.to_state, row.attempt, row.actor, row.reason)
        for row in transitions
    ]
    titles = ("SEQ", "AT", "EVENT", "FROM", "TO", "ATTEMPT", "ACTOR", "REASON")
    print_table(titles, rows, empty="It has no history.")
    for row in transitions:
        if row.error is not None:
            click.echo(f"\nError of {row.seq} (attempt {row.attempt}):\n{_error_text(row.error)}")


@commands.command()
@job_ids
@yes_option
def cancel(job_ids: tuple[UUID, ...], *, yes: bool) -> None:
    """Cancels jobs: at once where nobody has them, else as soon as their worker has stopped."""
    confirm(f"Cancel {_these(job_ids)}?", yes=yes)
    for job_id in job_ids:
        cancelled = here().backend.cancel(job_id, actor=actor())
        if cancelled is None:
            raise _unknown(job_id)
        if cancelled.state is State.CANCELLED:
            click.echo(f"Job {job_id} is cancelled.")
        elif cancelled.ended_at is not None:
            click.echo(f"Job {job_id} had ended: it is {cancelled.state}.")
        else:
            click.echo(f"Job {job_id} is {cancelled.state}; worker {cancelled.worker!r} is told to stop it.")


@commands.command()
@job_ids
def retry(job_ids: tuple[UUID, ...]) -> None:
    """Tries ended jobs again, with new budgets; their history goes on."""
    for job_id in job_ids:
        again = here().backend.requeue(job_id, actor=actor())
        click.echo(f"Job {job_id} is {again.state} again, in queue {again.queue!r}.")


@commands.command()
@click.argument("task")
@click.argument("arguments", metavar="[ARGUMENTS]", default="[]")
@click.option("-q", "--queue", help="The queue; else the default one.")
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON.")
def enqueue(task: str, arguments: str, *, queue: str | None, as_json: bool) -> None:
    """Enqueues a job of TASK.

    ARGUMENTS is JSON: a list of arguments, or an object of keyword arguments.
    """
    services = here()
    new = NewJob(id=uuid7(), task=task, payload=_call(arguments), queue=queue)
    services.backend.enqueue([new], actor=actor())
    stored = _find(new.id)
    if as_json:
        print_json(_listed(stored))
        return
    click.echo(f"Job {stored.id} enqueued into {stored.queue!r}.")
    if task not in registry:
        hint = similar(task, registry) or "; it runs if a worker knows it"
        click.echo(f"Warning: this app has no task {task!r}{hint}", err=True)
    if not any(info.workers for info in overview.queues(services.database) if info.name == stored.queue):
        click.echo(
            f"Warning: nobody is hired for this queue: `flask outsourcer queue hire {stored.queue} WORKER`",
            err=True,
        )


def _call(arguments: str) -> str:
    """The payload of a call with these arguments, given as JSON."""
    try:
        given = payload.loads(arguments)
    except OutsourcedError as error:
        raise click.BadParameter(f"{arguments!r} is not JSON: {error}", param_hint="ARGUMENTS") from error
    if not isinstance(given, (list, dict)):
        raise click.BadParameter('expected a list like [1, "two"] or an object', param_hint="ARGUMENTS")
    return payload.encode_call(*((tuple(given), {}) if isinstance(given, list) else ((), given)))


def _find(job_id: UUID) -> Job:
    found = here().backend.job(job_id)
    if found is None:
        raise _unknown(job_id)
    return found


def _unknown(job_id: UUID) -> NotFound:
    return NotFound(f"there is no job {job_id}: `flask outsourcer job list`", job_id=str(job_id))


def _these(job_ids: tuple[UUID, ...]) -> str:
    return f"job {job_ids[0]}" if len(job_ids) == 1 else f"{len(job_ids)} jobs"


def _budget(max_retries: int | None) -> str:
    return "any number of" if max_retries is None else str(max_retries)


def _listed(found: Job) -> dict[str, Any]:
    """A job as listings have it in JSON."""
    row: dict[str, Any] = plain(found)
    for detail in ("payload", "result", "result_pruned", "error", "files", "progress"):
        del row[detail]
    return row


def _detailed(found: Job) -> dict[str, Any]:
    call = orjson.loads(found.payload) if found.payload else {}
    return {
        "args": call.get("args"),
        "kwargs": call.get("kwargs"),
        "result": None if found.result is None else orjson.loads(found.result),
        "result_pruned": found.result_pruned,
        "error": plain(found.error),
        "files": plain(found.files),
        "progress": found.progress
        and {"state": found.progress.state, "meta": orjson.loads(found.progress.meta)},
    }


def _transition(row: Transition) -> dict[str, Any]:
    """A row of history as `job history --json` promises it."""
    return {
        "seq": row.seq,
        "from": plain(row.from_state),
        "to": str(row.to_state),
        "event": str(row.event),
        "attempt": row.attempt,
        "actor": row.actor,
        "lease_id": plain(row.lease_id),
        "at": plain(row.at),
        "reason": row.reason,
        "error": plain(row.error),
    }


def _error_text(error: Failure) -> str:
    causes = "".join(f"\ncaused by {kind}: {message}" for kind, message in error.causes)
    return error.traceback.rstrip() or f"{error.type}: {error.message}{causes}"
