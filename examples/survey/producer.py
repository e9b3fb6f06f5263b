"""`flask survey start`: enqueues one job per Python file, watches them end, and shows the findings."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import click
from flask.cli import AppGroup
from rich.console import Console

import findings
import outsourced
from progress import Bar
from sources import Source, installed_files, python_files
from survey_tasks.tasks import survey_file

#: jobs enqueued in one transaction
BATCH = 50
#: seconds between two looks at how the jobs fare
GLANCE = 0.25
#: characters of a line where there is no terminal to ask
LOG_WIDTH = 120
#: seconds without any job ending, after which we say what may be wrong
PATIENCE = 20.0

survey = AppGroup("survey", help="Has Python files surveyed by workers elsewhere.")

Folder = click.Path(exists=True, file_okay=False, path_type=Path)


@survey.command()
@click.argument("folders", nargs=-1, type=Folder)
def start(folders: tuple[Path, ...]) -> None:
    """Surveys every Python file below FOLDERS, or else those of this Python and its packages."""
    sources = python_files(folders) if folders else installed_files()
    if not sources:
        raise click.ClickException(f"there is no Python file below {', '.join(map(str, folders))}")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    owner = ("Survey", uuid.uuid4().hex)
    with Bar(console, total=len(sources)) as bar:
        for enqueued in _enqueue(sources, owner):
            bar.show(findings.count_states(owner), enqueued=enqueued)
        _watch(bar, owner)
    findings.show(console, owner)


def _enqueue(sources: list[Source], owner: tuple[str, str]) -> Iterator[int]:
    """Enqueues a job per file, the file as its attachment; yields how many are, after each batch."""
    for first in range(0, len(sources), BATCH):
        batch = sources[first : first + BATCH]
        outsourced.enqueue_many(
            (survey_file, (source.name,), {"attachment": source.path, "owner": owner}) for source in batch
        )
        yield first + len(batch)


def _watch(bar: Bar, owner: tuple[str, str]) -> None:
    """Shows the progress until every job has ended."""
    ended, moved_at = -1, time.monotonic()
    while not bar.is_full:
        states = findings.count_states(owner)
        bar.show(states)
        if bar.ended != ended:
            ended, moved_at = bar.ended, time.monotonic()
        elif time.monotonic() - moved_at > PATIENCE:
            bar.say(
                f"no job has ended for {PATIENCE:.0f} s: are the server and an outsourced_worker running?"
            )
            moved_at = time.monotonic()
        time.sleep(GLANCE)
