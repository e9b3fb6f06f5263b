"""Where the worker's messages go: lines of text, or of JSON."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime

from outsourced import joblog
from outsourced.context import Call, current_call
from outsourced.signals import after_setup_logger, after_setup_task_logger, setup_logging

LEVELS = ("debug", "info", "warning", "error", "critical")
#: what every log record has; the rest came in by `extra=`
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, what `extra=` brought, and the error."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        call = _saying(record)
        if call is not None:
            line |= {"task_name": call.task.name, "task_id": call.id}
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["error"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Lines of text; what a task says begins with its name and id."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        call = _saying(record)
        if call is None:
            return super().formatMessage(record)
        message, record.message = record.message, f"{call.task.name}[{call.id}] {record.message}"
        try:
            return super().formatMessage(record)
        finally:
            record.message = message


@dataclass(frozen=True, slots=True)
class Logs:
    """How a process of the worker writes its logs; picklable, so that slot processes write theirs alike."""

    level: str | None = None  #: None: info, without a line for each job that goes as it should
    log_format: str = "text"

    def configure(self) -> None:
        """Sends all logs of the process to stderr, tasks' own included."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter() if self.log_format == "json" else TextFormatter())
        root = logging.getLogger()
        root.handlers[:] = [handler]
        self.set_level()
        for noisy in ("urllib3", "authlib"):
            logging.getLogger(noisy).setLevel(max(logging.INFO, root.level))

    def set_level(self) -> None:
        """Says what is worth a line, wherever the lines go."""
        logging.getLogger().setLevel((self.level or "info").upper())
        joblog.set_routine(shown=self.level is not None)

    def hand_over(self) -> None:
        """Lets the application have its say, once its modules are imported: Celery's two signals."""
        root = logging.getLogger()
        how = {"loglevel": root.level, "logfile": None, "format": self.log_format, "colorize": False}
        if setup_logging.receivers:
            root.handlers.clear()
            setup_logging.send(None, **how)
        else:
            after_setup_logger.send(None, logger=root, **how)
            after_setup_task_logger.send(None, logger=root, **how)


def _saying(record: logging.LogRecord) -> Call | None:
    """The call of a task that this record comes from; our own words name it themselves."""
    call = current_call()
    return None if call is None or not call.id or record.name.startswith("outsourced") else call
