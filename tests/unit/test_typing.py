"""What type checkers make of tasks: their signatures survive `delay`, and a wrong call is an error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mypy import api

SAMPLE = """
from typing import Any
import outsourced

app = outsourced.Celery("sample")

@outsourced.task
def add(x: int, y: int = 0) -> int:
    return x + y

@outsourced.task(bind=True, max_retries=5)
def fetch(self: outsourced.Task[..., Any], url: str) -> str:
    raise self.retry(countdown=5)

@outsourced.shared_task
def words(text: str, *, short: bool = False) -> list[str]:
    return text.split()

@app.task
def halve(n: int) -> float:
    return n / 2

@app.task(bind=True, queue="slow")
def double(self: outsourced.Task[..., Any], n: int) -> float:
    return n * 2.0

class Base(outsourced.Task[..., Any]):
    colour = "red"
    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None: ...

@outsourced.task(base=Base, colour="blue")
def hooked(x: int) -> None: ...

@app.task(base=Base, bind=True, colour="blue")
def bound(self: Base, x: int) -> str:
    return self.colour

add.delay(1).get()  # int
add(1, y=2)  # int
add.apply((1,)).get()  # int
add.AsyncResult("5f0c").get()  # int
fetch.delay("https://example.com").get()  # str
words.delay("a b", short=True).get()  # list[str]
halve.delay(1).get()  # float
double.delay(1).get()  # float
bound.delay(1).get()  # str
hooked.delay(1)
add.delay("one")  # wrong
fetch.delay()  # wrong
halve.delay("one")  # wrong
double.delay(1, 2)  # wrong
hooked.delay(x="1")  # wrong
bound.delay("1")  # wrong
add.apply_async((1,), que="q")  # wrong
"""


@dataclass
class Said:
    """What a checker says of the sample: lines with errors, and the types it was asked to reveal."""

    errors: set[int]
    types: list[str]
    output: str


def mypy(sample: Path) -> Said:
    out, err, _ = api.run(
        ["--strict", "--no-incremental", "--cache-dir", str(sample.parent / "cache"), str(sample)]
    )
    errors = {int(line.split(":")[1]) for line in out.splitlines() if ": error:" in line}
    revealed = [line.rsplit('"', 2)[1] for line in out.splitlines() if "Revealed" in line]
    return Said(errors, [kind.replace("builtins.", "") for kind in revealed], out + err)


def pyright(sample: Path) -> Said:
    (sample.parent / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    ran = subprocess.run(
        [*command, sample.name], cwd=sample.parent, capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.stdout, ran.stderr
    said = json.loads(ran.stdout)["generalDiagnostics"]
    errors = {one["range"]["start"]["line"] + 1 for one in said if one["severity"] == "error"}
    revealed = [one["message"].rsplit('"', 2)[1] for one in said if one["severity"] == "information"]
    return Said(errors, revealed, ran.stdout + ran.stderr)


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_tasks_keep_their_signatures(checker: Callable[[Path], Said], tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text("\n".join(revealing(SAMPLE.splitlines())))
    wrong = {number for number, line in enumerate(SAMPLE.splitlines(), 1) if line.endswith("# wrong")}
    said = checker(sample)
    assert said.errors == wrong, said.output
    assert said.types == list(types_told(SAMPLE.splitlines())), said.output


def revealing(lines: list[str]) -> Iterator[str]:
    """The lines, those with a type behind them asking for it."""
    for line in lines:
        call, is_told, _ = line.partition("  # ")
        yield f"reveal_type({call})" if is_told and not line.endswith("# wrong") else line


def types_told(lines: list[str]) -> Iterator[str]:
    """The types behind the lines."""
    for line in lines:
        _, is_told, kind = line.partition("  # ")
        if is_told and kind != "wrong":
            yield kind
