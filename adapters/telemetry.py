"""Logs as lines of JSON that only carry fields on an allow-list, and counts for Prometheus.

It knows field names, not their meaning: a field that is not listed is dropped and counted, so patient
data cannot enter a log by accident. It does not know who logs, where lines go, or what is served.
"""

import logging
import sys
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, TextIO

import structlog
from prometheus_client import Counter, disable_created_metrics

from clinical.errors import ClinicalError

ALLOWED_FIELDS = frozenset(
    {
        "event",
        "level",
        "at",
        "logger",
        "process",
        "pid",
        "request_id",
        "message_id",
        "message_kind",
        "prediction_id",
        "review_id",
        "site",
        "door",
        "method",
        "route",
        "status",
        "trace_id",
        "nabla_code",
        "port",
        "attempts",
        "duration_ms",
        "retry_in_seconds",
        "error_code",
        "error_type",
        "error_at",
        "exit_code",
        "num_published",
        "num_buried",
        "num_owed",
        "num_reowed",
        "num_sequenced",
        "num_events",
        "num_quarantined",
        "num_waiting",
        "num_unsequenced",
        "oldest_seconds",
        "worker",
        "model",
        "device",
    }
)

# When a counter was made is of no use to anybody, and doubles what is scraped.
disable_created_metrics()  # type: ignore[no-untyped-call]

DROPPED_FIELDS = Counter(
    "clinical_log_fields_dropped", "Log fields left out because they are not on the allow-list."
)

# They say at every request or step what nobody needs to know.
_TALKATIVE = ("httpx", "alembic", "celery.app.trace", "celery.worker.strategy")

_Line = MutableMapping[str, Any]


def configure(process: str, *, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send every log line of this process, of whatever library, to `stream` (stderr) as JSON."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Formatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            _describe_error,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; say what happened in the event, and everything else in allowed fields."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound


def allowed(line: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a line that may be written; the rest is counted and gone."""
    kept = {name: value for name, value in line.items() if name in ALLOWED_FIELDS}
    DROPPED_FIELDS.inc(len(line) - len(kept))
    return kept


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Renders our lines and those of libraries alike."""

    def __init__(self, process: str) -> None:
        def stamp(_logger: object, _method: str, line: _Line) -> _Line:
            line["process"] = process
            return line

        super().__init__(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name],
            processors=[
                _keep_template_of_foreign_lines,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
                stamp,
                lambda _logger, _method, line: allowed(line),
                structlog.processors.JSONRenderer(default=str),
            ],
        )


def _keep_template_of_foreign_lines(_logger: object, _method: str, line: _Line) -> _Line:
    # A library interpolates what it likes into its message (a row, a URL, an exception's text), so
    # only the template that its author wrote is kept, and of an exception only type and place.
    record = line.get("_record")
    if line.get("_from_structlog") or not isinstance(record, logging.LogRecord):
        return line
    line["event"] = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    caught = line.pop("exc_info", None)
    if isinstance(caught, tuple) and caught[1] is not None:
        line.update(error_fields(caught[1]))
    return line


def _describe_error(_logger: object, _method: str, line: _Line) -> _Line:
    error = line.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        line.update(error_fields(error))
    return line


def error_fields(error: BaseException) -> dict[str, str]:
    """What may be said of an exception: its type, our code for it, and where it was raised.

    Never its text: a database error quotes the row that it refused.
    """
    fields = {
        "error_type": type(error).__name__,
        "error_at": " > ".join(_places(error)),
    }
    if isinstance(error, ClinicalError):
        fields["error_code"] = error.code
    return fields


def _places(error: BaseException) -> Iterator[str]:
    for frame in traceback.extract_tb(error.__traceback__)[-6:]:
        yield f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
