"""Celery with RabbitMQ, prefork, two processes. It has no call that enqueues many."""

from __future__ import annotations

from bench.peers import celery_app, settings

WORKERS = [["celery", "-A", "bench.peers.celery_rabbitmq", *celery_app.OPTIONS, *celery_app.QUIET]]

app, enqueue_each = celery_app.make(settings.RABBITMQ)


def prepare() -> None:
    settings.require_answer(settings.RABBITMQ)


def clean() -> None:
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_delete(settings.QUEUE)
        channel.exchange_delete(settings.QUEUE)
