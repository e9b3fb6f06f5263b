"""What a survey found: read with the application's own `db.session` from outsourced's models."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import ColumnElement, and_, func, select

from database import db
from outsourced.models import Job, JobArgs, JobFile, JobResult, Transition
from outsourced.states import State

#: rows of each table
TOP = 8
#: failed jobs that are listed
LISTED_FAILURES = 12

Owner = tuple[str, str]
Findings = Mapping[str, Any]


def count_states(owner: Owner) -> dict[State, int]:
    """How many of the survey's jobs are in each state."""
    rows = db.session.execute(select(Job.state, func.count()).where(_of(owner)).group_by(Job.state)).all()
    db.session.rollback()
    return {State(state): count for state, count in rows}


def show(console: Console, owner: Owner) -> None:
    """Prints the findings, the failures, one job's history and the figures."""
    found = _results(owner)
    if found:
        _show_totals(console, found)
        _show_extremes(console, found)
        _show_imports(console, found)
    _show_failures(console, owner)
    _show_history(console, owner)
    _show_figures(console, owner)
    db.session.rollback()


def _of(owner: Owner) -> ColumnElement[bool]:
    return and_(Job.owner_type == owner[0], Job.owner_id == owner[1])


def _results(owner: Owner) -> list[Findings]:
    chosen = select(JobResult.result).join(Job, Job.id == JobResult.job_id).where(_of(owner))
    return [json.loads(text) for text in db.session.scalars(chosen)]


def _show_totals(console: Console, found: Sequence[Findings]) -> None:
    definitions = sum(file["functions"] + file["classes"] for file in found)
    documented = sum(file["documented"] for file in found)
    columns = ("files", "lines", "functions", "classes", "with a docstring")
    table = _table(*columns, numbers=columns)
    table.add_row(
        f"{len(found):,}",
        *(f"{sum(file[key] for file in found):,}" for key in ("lines", "functions", "classes")),
        f"{documented / max(definitions, 1):.0%}",
    )
    _print(console, "What is there", table)


def _show_extremes(console: Console, found: Sequence[Findings]) -> None:
    table = _table("lines", "function", "where", "nesting in the file", numbers=("lines",))
    for file in sorted(found, key=lambda file: -file["longest_function"]["lines"])[:TOP]:
        longest = file["longest_function"]
        where = f"{file['file']}:{longest['line']}"
        table.add_row(f"{longest['lines']:,}", longest["name"], escape(where), str(file["max_nesting"]))
    _print(console, "The longest functions", table)


def _show_imports(console: Console, found: Sequence[Findings]) -> None:
    counted = Counter(module for file in found for module in file["imports"])
    table = _table("module", "by files", "share", numbers=("by files", "share"))
    for module, count in counted.most_common(TOP):
        table.add_row(module, f"{count:,}", f"{count / len(found):.0%}")
    _print(console, "The modules most imported", table)


def _show_failures(console: Console, owner: Owner) -> None:
    """The jobs that failed, each with the error that ended it."""
    chosen = (
        select(JobArgs.args, Transition.error, Transition.reason)
        .join(Job, Job.id == JobArgs.job_id)
        .join(Transition, and_(Transition.job_id == Job.id, Transition.seq == Job.version))
        .where(_of(owner), Job.state == State.FAILED)
        .order_by(Job.seq)
    )
    failures = db.session.execute(chosen).all()
    if not failures:
        return
    table = _table("file", "error")
    for args, error, reason in failures[:LISTED_FAILURES]:
        (name,) = json.loads(args)["args"]
        told = json.loads(error) if error else {"type": reason, "message": ""}
        table.add_row(escape(name), escape(f"{told['type']}: {told['message']}"))
    if len(failures) > LISTED_FAILURES:
        table.add_row(
            f"… and {len(failures) - LISTED_FAILURES} more", "flask outsourcer job list --state failed"
        )
    _print(console, f"Failed jobs: {len(failures)}", table)


def _show_history(console: Console, owner: Owner) -> None:
    """All that happened to one job: the one with the most to tell."""
    most_to_tell = (Job.attempt.desc(), Job.failures.desc(), Job.version.desc(), Job.seq)
    job = db.session.scalars(select(Job).where(_of(owner)).order_by(*most_to_tell).limit(1)).one()
    columns = ("#", "at", "event", "from", "to", "attempt", "by", "reason")
    table = _table(*columns, numbers=("#", "attempt"), whole=columns[:-1])
    for row in job.transitions:
        table.add_row(
            str(row.seq),
            f"{row.at:%H:%M:%S.%f}"[:-3],
            row.event,
            row.from_state or "",
            row.to_state,
            str(row.attempt),
            escape(row.actor),
            escape(row.reason or ""),
        )
    _print(console, f"One job's history: {job.task.name} {job.id}", table)
    for row in job.transitions:
        if row.error:
            console.print(escape(json.loads(row.error)["traceback"].rstrip()), style="red", soft_wrap=True)


def _show_figures(console: Console, owner: Owner) -> None:
    states = count_states(owner)
    begun, ended, attempts, tried, losses = db.session.execute(
        select(
            func.min(Job.created_at),
            func.max(Job.ended_at),
            func.sum(Job.attempt),
            func.count().filter(Job.attempt > 0),
            func.sum(Job.losses),
        ).where(_of(owner))
    ).one()
    files = db.session.scalar(
        select(func.count())
        .select_from(JobFile)
        .join(Job, Job.id == JobFile.job_id)
        .where(_of(owner), JobFile.kind == "result")
    )
    seconds = _seconds(begun, ended)
    jobs = sum(states.values())
    console.print(
        f"\n[bold green]{jobs:,} jobs[/] in {seconds:.1f} s, [bold]{jobs / seconds:,.0f} jobs/s[/]: "
        f"{states.get(State.COMPLETED, 0):,} completed, {states.get(State.FAILED, 0):,} failures, "
        f"{attempts - tried:,} retries ({losses:,} after a worker was lost), {files:,} result files"
    )


def _seconds(begun: datetime, ended: datetime) -> float:
    return max((ended - begun).total_seconds(), 0.001)


def _print(console: Console, title: str, table: Table) -> None:
    console.print(f"\n[bold]{title}[/]", table, sep="\n")


def _table(*columns: str, numbers: Sequence[str] = (), whole: Sequence[str] = ()) -> Table:
    """An empty table; `numbers` are aligned to the right, `whole` columns never broken over lines."""
    table = Table(header_style="dim", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in numbers else "left",
            overflow="fold",
            no_wrap=column in numbers or column in whole,
        )
    return table
