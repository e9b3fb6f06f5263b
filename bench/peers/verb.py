"""`python -m bench.peers.verb PEER prepare|fill|clean …`: one act of one peer, in `.venv-peers`.

A peer is a module with WORKERS (the commands of its two workers), and the functions prepare(),
enqueue_each(count), clean(), and enqueue_bulk(count) if it has a call that takes many jobs. Each has the
settings that its own documentation recommends for many short jobs, which its docstring names.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from types import ModuleType

from bench.peers.settings import Unavailable


def main(name: str, verb: str, *counts: str) -> None:
    try:
        peer = importlib.import_module(f"bench.peers.{name}")
    except ModuleNotFoundError as error:
        answer: object = {"left_out": f"{error.name} is not installed in .venv-peers"}
    else:
        answer = VERBS[verb](peer, *map(int, counts))
    print(json.dumps(answer))


def prepare(peer: ModuleType) -> dict[str, object]:
    """Makes what it needs; gives its workers, or why it is left out."""
    try:
        peer.prepare()
    except Unavailable as reason:
        return {"left_out": str(reason)}
    return {"workers": peer.WORKERS}


def fill(peer: ModuleType, single: int, bulk: int) -> dict[str, float | None]:
    """Enqueues so many one at a time and so many at once; gives the seconds of each, null where it cannot.

    The first job, which opens the connection, is not timed.
    """
    peer.enqueue_each(1)
    seconds: dict[str, float | None] = {"single": _timed(lambda: peer.enqueue_each(single - 1)), "bulk": None}
    if hasattr(peer, "enqueue_bulk"):
        seconds["bulk"] = _timed(lambda: peer.enqueue_bulk(bulk))
    else:
        peer.enqueue_each(bulk)
    return seconds


def clean(peer: ModuleType) -> None:
    """Removes what it made."""
    peer.clean()


VERBS: dict[str, Callable[..., object]] = {"prepare": prepare, "fill": fill, "clean": clean}


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(*sys.argv[1:])
