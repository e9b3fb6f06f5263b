"""TERM and INT are heard whatever the main thread does."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from queue import SimpleQueue

from outsourced_worker.hearing import hearing

TERM = (signal.SIGTERM,)


def busy_in_c(rounds: int) -> float:
    """Keeps this thread in C code, without a step of Python's own; gives how many seconds."""
    began = time.monotonic()
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", rounds)
    return time.monotonic() - began


def test_signal_is_heard_while_the_main_thread_is_in_c_code() -> None:
    rounds = int(200_000 / busy_in_c(200_000))  # a second, whatever the machine
    heard: list[float] = []
    with hearing(TERM, lambda: heard.append(time.monotonic())):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        busy_in_c(rounds)
        ended = time.monotonic()
    assert len(heard) == 1
    assert ended - heard[0] > 0.3


def test_each_signal_is_heard_however_it_falls_on_a_thread_that_blocks() -> None:
    # the moment between a last step of Python and the wait cannot be aimed at: hence often, and everywhere
    heard, waking = SimpleQueue[None](), threading.Event()
    with hearing(TERM, lambda: heard.put(None)):
        for number in range(300):
            threading.Timer(number * 1e-6, os.kill, (os.getpid(), signal.SIGTERM)).start()
            assert not waking.wait(0.002)
            heard.get(timeout=5)
    assert heard.empty()


def test_others_are_left_alone_and_all_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    others: list[int] = []
    old = signal.signal(signal.SIGUSR1, lambda number, _: others.append(number))
    heard: list[None] = []
    try:
        with hearing(TERM, lambda: heard.append(None)):
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0)  # a step at which Python calls handlers
        assert (others, heard) == ([signal.SIGUSR1], [])
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.set_wakeup_fd(-1) == -1
    assert "outsourced-signals" not in {thread.name for thread in threading.enumerate()}
