"""What both Celery peers share: the settings its guide to optimising recommends for many short tasks.

A large prefetch, no results, and none of the chatter between workers. Queues stay durable, as they are by
default: a transient one would be faster, and lose its jobs with the broker.
"""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery

from bench.peers import settings, tally

OPTIONS = ["worker", "-P", "prefork", "-c", "2", "-l", "ERROR"]
QUIET = ["--without-gossip", "--without-mingle", "--without-heartbeat"]


def make(broker: str) -> tuple[Celery, Callable[[int], None]]:
    """The app, and what enqueues so many jobs, one call each."""
    app = Celery("bench", broker=broker)
    app.conf.update(
        task_default_queue=settings.QUEUE,
        task_ignore_result=True,
        worker_prefetch_multiplier=128,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )

    @app.task(name="nothing")
    def nothing(number: int) -> None:
        tally.mark()

    def enqueue_each(count: int) -> None:
        with app.producer_or_acquire() as producer:
            for number in range(count):
                nothing.apply_async((number,), producer=producer)

    return app, enqueue_each
