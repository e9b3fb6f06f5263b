"""Celery at the other end of a pipe: a recipe a line on stdin, what became of it a line on stdout."""

# mypy: ignore-errors

from __future__ import annotations

import json
import logging
import sys
import time
import warnings

import celery
from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.worker import state

from tests.celery.canvases import shape
from tests.celery.recipes import made, tasks_of

#: looks in a row at which there is nothing to do, after which nothing more is to come: in general, and
#: where a result is to come
QUIET, PATIENT = 15, 250
#: seconds between two looks
PAUSE = 0.003


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    app = Celery("peer", broker="memory://", backend="cache+memory://")
    app.conf.update(worker_hijack_root_logger=False, broker_transport_options={"polling_interval": 0.005})
    calls = []
    tasks = tasks_of(app.task, calls)
    app.finalize()
    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="CRITICAL"):
        for line in sys.stdin:
            calls.clear()
            try:
                result = made(json.loads(line), celery, tasks).apply_async()
                wait_until_quiet(app, PATIENT, result)
                told = {"ended": shape_now(result)}
            except Exception as error:  # noqa: BLE001 - Celery refuses some shapes
                told = {"raised": f"{type(error).__name__}: {error}"}
            wait_until_quiet(app, QUIET)
            print(json.dumps(told | {"calls": sorted(calls, key=repr)}), flush=True)


def wait_until_quiet(app, looks, result=None) -> None:
    """Until no message is on its way and the worker has none, that often; or the result is there."""
    idle = 0
    while idle < looks and not (result is not None and result.ready()):
        is_busy = state.reserved_requests or state.active_requests or messages(app)
        idle = 0 if is_busy else idle + 1
        time.sleep(PAUSE)


def messages(app) -> int:
    with app.connection_or_acquire() as connection:
        return sum(queue.qsize() for queue in connection.default_channel.queues.values())


def shape_now(result):
    """As `shape`, without waiting for what has not ended by now."""
    if hasattr(result, "results"):
        return [shape_now(one) for one in result.results]
    return shape(result) if result.ready() else ["PENDING"]


if __name__ == "__main__":
    main()
