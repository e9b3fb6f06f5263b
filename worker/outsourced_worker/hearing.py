"""TERM and INT, heard at once whatever the main thread does.

A handler in Python runs in the main thread, between two of its steps: not while a task is in C code, and not
where the signal comes in the moment before that thread blocks, until something else wakes it. So the
interpreter writes each signal to a socket (`signal.set_wakeup_fd`), and a thread reads it there.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def hearing(numbers: Sequence[signal.Signals], hear: Callable[[], None]) -> Iterator[None]:
    """Has `hear` called for each such signal while the block lasts, in a thread. For the main thread."""
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)
    thread = threading.Thread(target=_listen, args=(ear, frozenset(numbers), hear), name="outsourced-signals")
    thread.daemon = True
    thread.start()
    descriptor = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, _leave_it) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(descriptor)
        mouth.close()
        thread.join()
        ear.close()


def _listen(ear: socket.socket, numbers: frozenset[int], hear: Callable[[], None]) -> None:
    while said := ear.recv(1):
        if said[0] in numbers:
            hear()


def _leave_it(_number: int, _frame: object) -> None:
    """Nothing: but a signal without a handler is not written to the socket."""
