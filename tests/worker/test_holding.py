"""How much to hold."""

from __future__ import annotations

import pytest

from outsourced_worker.holding import MAX_CLAIM, MAX_HELD, RunTimes, slots_wanted


def known(**seconds: float) -> RunTimes:
    times = RunTimes()
    for task, value in seconds.items():
        times.observe(task, value)
    return times


def test_slots_wanted_is_one_a_slot_while_nothing_is_known() -> None:
    assert slots_wanted(4, RunTimes(), waiting=[], running=[]) == 4
    assert slots_wanted(4, RunTimes(), waiting=["a"], running=[("a", 9.0), ("a", 0.0)]) == 1


def test_slots_wanted_fills_a_second_with_short_tasks() -> None:
    assert slots_wanted(2, known(a=0.1), waiting=[], running=[]) == 20


def test_slots_wanted_never_exceeds_a_request_or_what_may_be_held() -> None:
    assert slots_wanted(1, known(a=0.0001), waiting=[], running=[]) == MAX_CLAIM
    assert slots_wanted(1, known(a=0.0001), waiting=["a"] * (MAX_HELD - 3), running=[("a", 0)]) == 2


def test_slots_wanted_counts_what_is_coming() -> None:
    assert slots_wanted(4, RunTimes(), waiting=[], running=[], coming=3) == 1
    assert slots_wanted(1, known(a=0.0001), waiting=[], running=[], coming=MAX_HELD - 3) == 3
    assert slots_wanted(2, known(a=0.1), waiting=[], running=[], coming=15) == 5


def test_slots_wanted_holds_nothing_behind_long_tasks() -> None:
    assert slots_wanted(2, known(a=60), waiting=[], running=[("a", 0.0), ("a", 30.0)]) == 0
    assert slots_wanted(2, known(a=60), waiting=[], running=[("a", 0.0)]) == 1


def test_slots_wanted_is_none_behind_a_short_task_that_turned_out_long() -> None:
    assert slots_wanted(1, known(a=0.001), waiting=[], running=[("a", 0.5)]) == 0


def test_slots_wanted_is_none_behind_an_unknown_task() -> None:
    assert slots_wanted(1, known(a=0.001), waiting=[], running=[("b", 0.5)]) == 0


def test_slots_wanted_forgives_a_short_overrun() -> None:
    assert slots_wanted(1, known(a=0.001), waiting=[], running=[("a", 0.01)]) == MAX_CLAIM


def test_slots_wanted_takes_an_unknown_waiting_task_to_fill_a_slot() -> None:
    assert slots_wanted(1, known(a=0.01), waiting=["b"], running=[]) == 0


@pytest.mark.parametrize("seconds", [0.5, 0.0])
def test_observe_moves_the_average_towards_the_newest_run(seconds: float) -> None:
    times = known(a=1.0)
    for _ in range(100):
        times.observe("a", seconds)
    assert times.of("a") == pytest.approx(seconds, abs=0.001)
    assert times.typical == pytest.approx(seconds, abs=0.001)
