"""The Redis database that the peers share: used only if it is empty, and left so."""

from __future__ import annotations

import redis

from bench.peers.settings import REDIS, Unavailable, require_answer


def require_empty() -> None:
    """Raises Unavailable unless Redis answers and the database is empty."""
    require_answer(REDIS)
    if redis.Redis.from_url(REDIS).dbsize():
        raise Unavailable(f"{REDIS} is not empty: name another database in BENCH_REDIS")


def flush() -> None:
    """Empties it."""
    redis.Redis.from_url(REDIS).flushdb()
