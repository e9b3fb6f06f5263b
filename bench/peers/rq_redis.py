"""RQ with two SimpleWorkers, which do not fork for each job, and no results kept."""

from __future__ import annotations

import redis
from rq import Queue

from bench.peers import redis_database, settings, tally

WORKERS = [
    [
        "rq",
        "worker",
        "--worker-class",
        "rq.worker.SimpleWorker",
        "--quiet",
        "--url",
        settings.REDIS,
        settings.QUEUE,
    ]
] * 2

_connection = redis.Redis.from_url(settings.REDIS)
_queue = Queue(settings.QUEUE, connection=_connection)


def nothing(number: int) -> None:
    tally.mark()


def prepare() -> None:
    redis_database.require_empty()


def enqueue_each(count: int) -> None:
    for number in range(count):
        _queue.enqueue_call(nothing, (number,), result_ttl=0)


def enqueue_bulk(count: int) -> None:
    _queue.enqueue_many([Queue.prepare_data(nothing, (number,), result_ttl=0) for number in range(count)])


def clean() -> None:
    redis_database.flush()
