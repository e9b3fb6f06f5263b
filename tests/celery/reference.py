"""Runs the cases under Celery, by a worker in this process, and prints what each gave, as JSON."""

# mypy: ignore-errors

from __future__ import annotations

import json
import logging
import sys
import warnings

import celery
import celery.exceptions
import celery.result
from celery import Celery, signals
from celery.contrib.testing.worker import start_worker

from tests.celery import canvases, cases, replacing  # noqa: F401 - fills CASES
from tests.celery.api import CASES, Api


def nothing() -> None:
    """The worker works by itself."""


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    app = Celery("reference", broker="memory://", backend="cache+memory://")
    app.conf.update(worker_hijack_root_logger=False, broker_transport_options={"polling_interval": 0.01})
    built = []
    for eager in (False, True):
        for number, case in enumerate(CASES):
            if eager and not case.eager:
                continue

            def task(number=number, eager=eager, **options):
                def make(function):
                    given = {"name": f"case{number}.{eager}.{function.__name__}"} | options
                    return app.task(**given)(function)

                return make

            api = Api(
                task,
                app.Task,
                signals,
                celery.exceptions,
                celery.result,
                celery.group,
                celery,
                nothing,
                eager=eager,
            )
            built.append((case.name, eager, case.build(api)))
    app.finalize()
    found = {}
    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="CRITICAL"):
        for name, eager, run in built:
            found[f"{name}/{'eager' if eager else 'worker'}"] = run()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
