"""The table of edges against its oracle."""

from __future__ import annotations

import itertools
from dataclasses import fields
from typing import Any

import pytest

from outsourced.errors import InvalidTransition
from outsourced.states import (
    LEASED,
    LIVE,
    TERMINAL,
    TRANSITIONS,
    Event,
    Facts,
    State,
    celery_state,
    next_state,
)

STATES = (None, *State)
#: every combination of what decides
FACTS = [
    Facts(**dict[str, Any](zip([field.name for field in fields(Facts)], values, strict=True)))
    for values in itertools.product(
        *([(True, False)] * (len(fields(Facts)) - 1)), (None, State.ASSIGNED, State.WORKING)
    )
]


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", STATES)
def test_next_state_follows_the_table_or_refuses(state: State | None, event: Event) -> None:
    reached = set()
    for facts in FACTS:
        try:
            reached.add(next_state(state, event, facts))
        except InvalidTransition:
            continue
    assert reached == TRANSITIONS.get((state, event), frozenset())


def test_terminal_states_are_left_by_the_operators_retry_only() -> None:
    assert {event for state, event in TRANSITIONS if state in TERMINAL} == {Event.RETRY}


def test_live_states_can_all_be_cancelled() -> None:
    assert {next_state(state, Event.CANCEL) for state in LIVE} == {State.CANCELLED}


@pytest.mark.parametrize("state", sorted(LEASED))
@pytest.mark.parametrize("event", [Event.FAIL, Event.RELEASE, Event.RESCUE])
def test_a_cancel_request_keeps_a_job_from_running_again(state: State, event: Event) -> None:
    assert next_state(state, event, Facts(cancel_requested=True, wants_retry=True)) is State.CANCELLED


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (Facts(wants_retry=True), State.RETRYING),
        (Facts(wants_retry=False), State.FAILED),
        (Facts(wants_retry=True, retries_left=False), State.FAILED),
        (Facts(wants_retry=True, expires_before_retry=True), State.EXPIRED),
        (Facts(wants_retry=True, retries_left=False, cancel_requested=True), State.FAILED),
    ],
)
def test_fail_obeys_wish_and_budget(facts: Facts, state: State) -> None:
    assert next_state(State.WORKING, Event.FAIL, facts) is state


def test_rescue_spends_a_loss_only_on_begun_jobs() -> None:
    spent = Facts(losses_left=False)
    assert next_state(State.ASSIGNED, Event.RESCUE, spent) is State.UNASSIGNED
    assert next_state(State.WORKING, Event.RESCUE, spent) is State.FAILED


@pytest.mark.parametrize("state", State)
def test_celery_state_knows_every_state(state: State) -> None:
    assert celery_state(state).isupper()
