"""Random canvases, made by Celery and by outsourced: how they end, and the calls of which they consist."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import outsourced
from outsourced.testing import MemoryBackend
from tests.celery.canvases import shape
from tests.celery.exclusions import excluded
from tests.celery.recipes import calls_in, made, tasks_of

ROOT = Path(__file__).parent.parent.parent
#: most calls of a canvas
CALLS = 12

pytestmark = pytest.mark.slow

Recipe = list[Any]
Ask = Callable[[Recipe], Any]

options = st.fixed_dictionaries(
    {"args": st.lists(st.integers(0, 9), min_size=1, max_size=1)},
    optional={name: st.just(True) for name in ("immutable", "link", "link_error")},
)
names = st.sampled_from(["keep"] * 9 + ["boom"])
call = st.builds(lambda name, options: ["call", name, options], names, options)


def combined(parts: st.SearchStrategy[Recipe]) -> st.SearchStrategy[Recipe]:
    several = st.lists(parts, min_size=1, max_size=3)
    return st.one_of(
        st.builds(lambda parts: ["chain", parts], several),
        st.builds(lambda parts: ["group", parts], several),
        st.builds(lambda header, body: ["chord", header, body], several, parts),
    )


level_1 = combined(call)
level_2 = combined(st.one_of(call, call, level_1))
recipes = combined(st.one_of(call, level_1, level_2)).filter(lambda recipe: len(calls_in(recipe)) <= CALLS)


def bounded(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize="TEST_SEED" not in os.environ,  # the same ones each time, unless somebody explores
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="session")
def celery() -> Iterator[Ask]:
    """Asks Celery what becomes of a recipe: one process, for all of them."""
    if importlib.util.find_spec("celery") is None:
        pytest.skip("celery is not installed: `make install` brings it")
    peer = subprocess.Popen(
        [sys.executable, "-m", "tests.celery.peer"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert peer.stdin is not None
    assert peer.stdout is not None

    def ask(recipe: Recipe) -> Any:
        print(json.dumps(recipe), file=peer.stdin, flush=True)
        return json.loads(peer.stdout.readline())  # type: ignore[union-attr]

    with peer:
        yield ask
        peer.stdin.close()


@pytest.fixture
def calls() -> list[Any]:
    return []


@pytest.fixture
def tasks(forget_tasks: None, calls: list[Any]) -> Any:
    return tasks_of(outsourced.task, calls)


def ours(recipe: Recipe, tasks: Any, calls: list[Any], work: Callable[[], object]) -> Any:
    calls.clear()
    result = made(recipe, outsourced, tasks).apply_async()
    work()
    assert result.ready()
    return json.loads(json.dumps({"ended": shape(result), "calls": sorted(calls, key=repr)}))


def test_random_canvases_end_as_celerys(celery: Ask, tasks: Any, calls: list[Any]) -> None:
    @bounded(200)
    @given(recipes)
    def compare(recipe: Recipe) -> None:
        with MemoryBackend() as backend:
            found = ours(recipe, tasks, calls, backend.drain)
        if not excluded(recipe):
            assert found == celery(recipe)

    compare()


def test_random_canvases_end_as_celerys_on_a_database(
    celery: Ask, tasks: Any, calls: list[Any], work: Callable[[], None]
) -> None:
    @bounded(12)
    @given(recipes)
    def compare(recipe: Recipe) -> None:
        found = ours(recipe, tasks, calls, work)
        if not excluded(recipe):
            assert found == celery(recipe)

    compare()


@st.composite
def with_replacements(draw: st.DrawFn) -> tuple[Recipe, Recipe]:
    """A recipe, and the same with some of its calls made by a task that has itself replaced by them.

    One call fails, at most: of two, whichever is first is the one that is told of.
    """
    recipe: Recipe = draw(
        recipes.filter(lambda recipe: [one[1] for one in calls_in(recipe)].count("boom") < 2)
    )
    replaced: Recipe = json.loads(json.dumps(recipe))
    for one in calls_in(replaced):
        one[2]["replaced"] = draw(st.booleans())
    return recipe, replaced


def test_replaced_calls_are_as_good_as_others(tasks: Any, calls: list[Any]) -> None:
    @bounded(300)
    @given(with_replacements())
    def compare(both: tuple[Recipe, Recipe]) -> None:
        found = []
        for recipe in both:
            with MemoryBackend() as backend:
                found.append(ours(recipe, tasks, calls, backend.drain))
        assert found[0] == found[1]

    compare()


def test_replaced_calls_are_as_good_as_others_on_a_database(
    tasks: Any, calls: list[Any], work: Callable[[], None]
) -> None:
    @bounded(12)
    @given(with_replacements())
    def compare(both: tuple[Recipe, Recipe]) -> None:
        plain, replaced = (ours(recipe, tasks, calls, work) for recipe in both)
        assert plain == replaced

    compare()


def test_random_canvases_survive_json(tasks: Any, calls: list[Any]) -> None:
    @bounded(50)
    @given(recipes)
    def compare(recipe: Recipe) -> None:
        one = made(recipe, outsourced, tasks)
        again = outsourced.signature(json.loads(json.dumps(one)))
        ends = []
        for signature in (one, again):
            calls.clear()
            with MemoryBackend() as backend:
                result = signature.apply_async()
                backend.drain()
                ends.append((shape(result), sorted(calls, key=repr)))
        assert ends[0] == ends[1]

    compare()
