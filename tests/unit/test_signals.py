"""Signals: who is told, and who no longer is."""

from __future__ import annotations

import gc
from typing import Any

from outsourced.signals import Signal


def test_connect_tells_the_receiver_of_everybody() -> None:
    signal, seen = Signal("s"), []

    @signal.connect
    def note(sender: Any = None, **facts: Any) -> str:
        seen.append((sender, facts["x"]))
        return "noted"

    assert signal.send("me", x=1) == [(note, "noted")]
    assert seen == [("me", 1)]


def test_connect_with_a_sender_tells_of_that_one_only() -> None:
    signal, seen = Signal("s"), []

    @signal.connect(sender="a")
    def note(sender: Any = None, **_: Any) -> None:
        seen.append(sender)

    signal.send("a")
    signal.send("b")
    assert seen == ["a"]
    assert signal.has_listeners("a")
    assert not signal.has_listeners("b")


def test_connect_holds_receivers_weakly_unless_told_not_to() -> None:
    signal = Signal("s")
    signal.connect(lambda **_: "weak")
    gc.collect()
    assert signal.send(None) == []
    signal.connect(lambda **_: "kept", weak=False)
    gc.collect()
    assert [answer for _, answer in signal.send(None)] == ["kept"]


def test_connect_twice_is_once() -> None:
    signal = Signal("s")

    def note(**_: Any) -> None: ...

    signal.connect(note)
    signal.connect(note)
    signal.connect(lambda **_: None, weak=False, dispatch_uid="one")
    signal.connect(lambda **_: None, weak=False, dispatch_uid="one")
    assert len(signal.send(None)) == 2


def test_disconnect_ends_it() -> None:
    signal = Signal("s")

    class Listener:
        def note(self, **_: Any) -> None: ...

    listener = Listener()
    signal.connect(listener.note)
    assert len(signal.receivers) == 1
    assert signal.disconnect(listener.note)
    assert not signal.disconnect(listener.note)
    assert signal.receivers == ()


def test_send_goes_on_after_a_receiver_that_raises() -> None:
    signal = Signal("s")
    error = ValueError("broken")

    def broken(**_: Any) -> None:
        raise error

    def good(**_: Any) -> str:
        return "good"

    signal.connect(broken)
    signal.connect(good)
    assert signal.send(None) == [(broken, error), (good, "good")]
