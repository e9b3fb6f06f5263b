"""What `import outsourced` needs, gives and promises to type checkers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import outsourced
from outsourced.errors import MissingExtra
from outsourced.extras import server_extra

ROOT = Path(outsourced.__file__).parent.parent

BLOCK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def python(code: str, *, blocked: tuple[str, ...] = ("flask", "sqlalchemy", "werkzeug")) -> str:
    script = BLOCK.format(blocked=blocked) + code
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_needs_neither_flask_nor_sqlalchemy() -> None:
    python(
        "import outsourced, outsourced.execution, outsourced.exceptions, outsourced.testing\n"
        "from outsourced import *"
    )


@pytest.mark.parametrize("use", ["outsourced.bp", "outsourced.Outsourced", "__import__('outsourced.models')"])
def test_a_missing_extra_is_named_with_the_command_to_type(use: str) -> None:
    told = python(f"import outsourced\ntry: {use}\nexcept ImportError as e: print(type(e).__name__, e)")
    assert told.startswith("MissingExtra")
    assert "pip install 'outsourced[server]'" in told


def test_other_import_errors_pass() -> None:
    with pytest.raises(ModuleNotFoundError, match="elsewhere"), server_extra("it"):
        raise ModuleNotFoundError("No module named 'elsewhere'", name="elsewhere")
    with pytest.raises(MissingExtra), server_extra("it"):
        raise ModuleNotFoundError("No module named 'flask.views'", name="flask.views")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="taks"):
        _ = outsourced.taks  # type: ignore[attr-defined]


def test_all_names_exist() -> None:
    assert [name for name in outsourced.__all__ if not hasattr(outsourced, name)] == []


SNIPPET = """
from typing import Any
import outsourced

@outsourced.task
def add(x: int, y: int = 0) -> int:
    return x + y

@outsourced.task(bind=True, max_retries=5, autoretry_for=(OSError,))
def fetch(self: outsourced.Task[..., Any], url: str) -> bytes:
    try:
        return url.encode()
    except OSError as error:
        self.retry(exc=error, countdown=5)

@outsourced.task(name="other", queue="q")
def other(*, flag: bool) -> None: ...

reveal_type(add.delay(1))
reveal_type(add.delay(1).get())
reveal_type(add(1, y=2))
reveal_type(fetch.delay("u").get())
other.delay(flag=True)
add.apply_async((1,), {"y": 2}, countdown=5, queue="q", max_retries=None)
outsourced.enqueue("any", 1, kwargs={"a": 2}, queue="q")
outsourced.enqueue_many([(add, (1, 2)), ("any", (3,), {"queue": "q"}), (fetch,)])
outsourced.remote("gpu.render", queue="gpu").delay(1, size=2)
"""

WRONG = """
from typing import Any
import outsourced

@outsourced.task
def add(x: int, y: int = 0) -> int:
    return x + y

@outsourced.task(bind=True)
def fetch(self: outsourced.Task[..., Any], url: str) -> bytes:
    return url.encode()

add.delay("1")
add.delay()
add.delay(1, z=2)
fetch.delay()
add.apply_async((1,), contdown=5)
outsourced.task(max_retry=5)
outsourced.taks
"""


def mypy(code: str, tmp_path: Path) -> list[str]:
    file = tmp_path / "snippet.py"
    file.write_text(code)
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary",
            f"--config-file={tmp_path / 'none'}", f"--cache-dir={ROOT / '.mypy_cache'}", str(file),
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    return [line.partition("snippet.py:")[2] for line in done.stdout.splitlines() if "snippet.py:" in line]


@pytest.mark.slow
def test_types_keep_the_signature_of_the_function(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("[mypy]\n")
    told = [line.partition("note: Revealed type is ")[2] for line in mypy(SNIPPET, tmp_path)]
    assert [text.strip('"') for text in told] == [
        "outsourced.results.AsyncResult[int]",
        "int",
        "int",
        "bytes",
    ]


@pytest.mark.slow
def test_types_refuse_wrong_calls(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("[mypy]\n")
    lines = {int(line.partition(":")[0]) for line in mypy(WRONG, tmp_path) if " error: " in line}
    first = WRONG.splitlines().index('add.delay("1")') + 1
    assert lines == set(range(first, first + 7))
