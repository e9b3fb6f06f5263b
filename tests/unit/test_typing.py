"""What a type checker makes of tasks: their signatures survive `delay`, and a wrong call is an error."""

from __future__ import annotations

from pathlib import Path

from mypy import api

SAMPLE = """
from typing import Any
import outsourced

@outsourced.task
def add(x: int, y: int = 0) -> int:
    return x + y

@outsourced.task(bind=True, max_retries=5)
def fetch(self: Any, url: str) -> str:
    raise self.retry(countdown=5)

class Base(outsourced.Task[..., Any]):
    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None: ...

@outsourced.task(base=Base)
def hooked(x: int) -> None: ...

reveal_type(add.delay(1).get())
reveal_type(fetch.delay("https://example.com").get())
reveal_type(add(1, y=2))
reveal_type(add.apply((1,)).get())
hooked.delay(1)
add.delay("one")  # wrong
fetch.delay()  # wrong
hooked.delay(x="1")  # wrong
add.apply_async((1,), que="q")  # wrong
"""


def test_tasks_keep_their_signatures_for_mypy(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text(SAMPLE)
    out, err, _ = api.run(
        ["--strict", "--no-incremental", "--cache-dir", str(tmp_path / "cache"), str(sample)]
    )
    lines = SAMPLE.splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    told = {int(line.split(":")[1]) for line in out.splitlines() if ": error:" in line}
    revealed = [
        line.rsplit('"', 2)[1].removeprefix("builtins.") for line in out.splitlines() if "Revealed" in line
    ]
    assert told == wrong, out + err
    assert revealed == ["int", "str", "int", "int"]
