"""Names of tasks."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import outsourced
from outsourced.errors import NotRegistered, TaskAlreadyRegistered
from outsourced.registry import Registry, registry


def test_task_is_named_by_module_and_function() -> None:
    @outsourced.task
    def add(x: int, y: int) -> int:
        return x + y

    assert add.name == f"{__name__}.add"
    assert registry[add.name] is add


def test_add_refuses_another_function_of_the_same_name() -> None:
    @outsourced.task(name="twice")
    def one() -> None: ...

    with pytest.raises(TaskAlreadyRegistered, match=r"one.*two"):

        @outsourced.task(name="twice")
        def two() -> None: ...

    assert registry["twice"] is one


def test_add_takes_the_same_function_again_after_a_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reloaded_tasks.py").write_text("import outsourced\n@outsourced.task\ndef job(): return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("reloaded_tasks")
    (tmp_path / "reloaded_tasks.py").write_text(
        "import outsourced\n\n@outsourced.task\ndef job(): return 22\n"
    )
    importlib.invalidate_caches()
    importlib.reload(module)
    try:
        assert registry["reloaded_tasks.job"]() == 22
    finally:
        del sys.modules["reloaded_tasks"]


def test_lookup_says_what_was_imported_and_what_to_do() -> None:
    @outsourced.task(name="reports.render")
    def render() -> None: ...

    with pytest.raises(NotRegistered) as missing:
        registry["reports.rendr"]
    assert __name__ in str(missing.value)
    assert "include:" in str(missing.value)
    assert "did you mean 'reports.render'?" in str(missing.value)


def test_lookup_in_an_empty_registry_says_that_nothing_was_imported() -> None:
    with pytest.raises(NotRegistered, match="no module with tasks was imported"):
        Registry()["any"]


def test_a_registry_is_a_collection_of_names() -> None:
    empty = Registry()
    assert not empty
    assert list(empty) == []
    assert "any" not in empty
    assert empty.get("any") is None
