"""Whether this serving process was told to end, found out without a word of ours in its signals."""

from __future__ import annotations

import signal


def is_ending() -> bool:
    """Whether gunicorn, if it is what serves us, has been told to end this process.

    A guest takes no signal from its host, so this only looks at who answers TERM: with gunicorn that
    is its worker, which ceases to be `alive` once it has been told. With any other server: False.
    """
    gunicorn = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(gunicorn, "alive", True) is False
