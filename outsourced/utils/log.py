"""Loggers for tasks: their records know the task and its id."""

from __future__ import annotations

import logging

from outsourced.context import current_call

#: what the attributes say where no task runs
NOBODY = "???"


class TaskFilter(logging.Filter):
    """Lets every record through, with `task_name` and `task_id` for formats that show them."""

    def filter(self, record: logging.LogRecord) -> bool:
        call = current_call()
        record.task_name = NOBODY if call is None else call.task.name
        record.task_id = NOBODY if call is None else call.id or NOBODY
        return True


_FILTER = TaskFilter()


def get_task_logger(name: str) -> logging.Logger:
    """The logger of this name, for use in tasks: a worker writes which task, and which job, said it."""
    logger = logging.getLogger(name)
    logger.addFilter(_FILTER)
    return logger


def get_logger(name: str) -> logging.Logger:
    """The logger of this name."""
    return logging.getLogger(name)
