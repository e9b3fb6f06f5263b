"""The two workers of a stage, which each backend's file makes."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.backends.stage", "tests.backends.topics")

from tests.backends.stage import Site, Stage  # noqa: E402


@pytest.fixture
def near(stage: Stage) -> Site:
    return Site(stage.consumer("near"))


@pytest.fixture
def far(stage: Stage) -> Site:
    return Site(stage.consumer("far"))
