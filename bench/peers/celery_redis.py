"""Celery with Redis, prefork, two processes. It has no call that enqueues many."""

from __future__ import annotations

from bench.peers import celery_app, redis_database, settings

WORKERS = [["celery", "-A", "bench.peers.celery_redis", *celery_app.OPTIONS, *celery_app.QUIET]]

app, enqueue_each = celery_app.make(settings.REDIS)


def prepare() -> None:
    redis_database.require_empty()


def clean() -> None:
    redis_database.flush()
