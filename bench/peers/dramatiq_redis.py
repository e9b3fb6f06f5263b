"""Dramatiq with Redis: two processes of its usual eight threads. It has no call that enqueues many."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers import redis_database, settings, tally

WORKERS = [["dramatiq", "--processes", "2", "--threads", "8", "bench.peers.dramatiq_redis"]]

dramatiq.set_broker(RedisBroker(url=settings.REDIS))


@dramatiq.actor(queue_name=settings.QUEUE)
def nothing(number: int) -> None:
    tally.mark()


def prepare() -> None:
    redis_database.require_empty()


def enqueue_each(count: int) -> None:
    for number in range(count):
        nothing.send(number)


def clean() -> None:
    redis_database.flush()
