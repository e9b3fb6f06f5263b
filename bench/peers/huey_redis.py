"""Huey with Redis: two worker processes, no results, no periodic tasks. It has no call that enqueues many."""

from __future__ import annotations

from huey import RedisHuey

from bench.peers import redis_database, settings, tally

WORKERS = [["huey_consumer", "bench.peers.huey_redis.huey", "-w", "2", "-k", "process", "-n", "-q"]]

huey = RedisHuey(settings.QUEUE, url=settings.REDIS, results=False)


@huey.task()
def nothing(number: int) -> None:
    tally.mark()


def prepare() -> None:
    redis_database.require_empty()


def enqueue_each(count: int) -> None:
    for number in range(count):
        nothing(number)


def clean() -> None:
    redis_database.flush()
