"""Every edge of the published table is walked on both databases, or named among those that come later."""

from __future__ import annotations

from outsourced.sql.backend import SqlBackend
from tests.sql.conftest import Site
from tests.sql.edges import EDGES, LATER, RECIPES, WAYS


def test_each_edge_is_either_walked_or_comes_later() -> None:
    assert not RECIPES.keys() & LATER.keys()
    assert RECIPES.keys() | LATER.keys() == EDGES


def test_each_way_leads_to_its_state(backend: SqlBackend, near: Site) -> None:
    for state, way in WAYS.items():
        job = backend.job(way.cook(near))
        assert job is not None
        assert job.state is state


def test_each_edge_is_seen_in_history(backend: SqlBackend, near: Site) -> None:
    for edge, recipe in RECIPES.items():
        job_id = recipe.cook(near)
        last = backend.history(job_id)[-1]
        assert (last.from_state, last.event, last.to_state) == edge
