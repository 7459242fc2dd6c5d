"""Logging for every process of the platform: structlog over stdlib logging, one line per record, as text or JSON.

Lower layers use `structlog.get_logger()` or plain `logging`; both end here. Celery's, beat's and Flower's own records take the
same way, without those that say nothing to an operator.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from recovery.settings import Settings

LEADING = ("service", "recovery", "strategy")
"""What an operator looks for; these come first in a line."""

TASK_TALK = frozenset({"celery.app.trace", "celery.worker.strategy"})
"""Say of every task that it was received and succeeded; what it did for a service is in lines of its own."""

NOISE = {
    "celery.beat": ("Scheduler: Sending due task", "beat pidbox:"),
    "celery.worker.consumer.consumer": ("Skipping prefetch count",),  # at each loss of the broker, on top of the line that tells it
    "celery.worker.consumer.tasks": ("Global QoS is disabled",),  # at each start on RabbitMQ
    "celery.app.base": ("Direct exchanges are not supported",),  # see workers/consumer.py
    "celery.worker.consumer.mingle": ("mingle:",),
    "celery.worker.consumer.gossip": ("missed heartbeat", "sync with"),
    "celery.worker.autoscale": ("Scaling",),
    "celery.worker.pidbox": ("pidbox:",),
    "celery.worker.request": ("Discarding revoked task",),  # ticks and sweeps that an outage has made too late
    "py.warnings": ("CPendingDeprecationWarning",),  # what a later Celery will do is no matter of this one
    "flower.command": ("Registered tasks", "detected, shutting down"),
    "flower.inspector": ("Inspect method",),  # warns of every worker that does not answer within a second
}
"""Records of these loggers that hold one of these texts are for debugging Celery, not for running services."""

SHORT = {"WARNING": "WARN", "CRITICAL": "FATAL"}
"""Levels as a text line shows them, so that the events stand in one column."""

TALKATIVE = ("alembic", "asyncio", "kombu", "tornado.access")
"""Libraries of which only warnings are wanted."""

_URL_PASSWORD = re.compile(r"(?P<user>\b[a-z][a-z0-9+.-]*://[^\s:/@'\"]*):[^\s/'\"]+@", re.IGNORECASE)
_QUERY_SECRET = re.compile(r"(?P<name>[?&](?:password|passwd|secret|token|api_?key)=)[^&\s'\"]+", re.IGNORECASE)
_SECRET_NAME = re.compile(r"(?:.*_)?(?:password|passwd|secret|token|api_?key|authorization)", re.IGNORECASE)
_BARE = re.compile(r"[^\s\"'=\\\x00-\x1f\x7f]+")


def get_logger(name: str | None = None, **bound: object) -> Any:
    """Return a logger whose every record carries `bound`, for example `service` and `recovery`."""
    return structlog.get_logger(name, **bound) if name else structlog.get_logger(**bound)


def configure(settings: Settings, *, stream: TextIO | None = None, level: int | None = None, file: str | None = None) -> None:
    """Send all records of this process to one place in one format; calling it again replaces the earlier choice.

    Args:
        settings: give the format and the level.
        stream: where lines go, standard error if None.
        level: used if it is more talkative than the settings' level.
        file: a path that takes the lines instead of the stream.
    """
    chosen = _level(settings.log_level)
    chosen = min(chosen, level) if level else chosen
    handler = logging.FileHandler(file, encoding="utf-8") if file else logging.StreamHandler(stream or sys.stderr)
    render = _as_json if settings.log_format == "json" else _as_text
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_enriched(), processors=[_fold_exception, _redacted, _named, render])
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(chosen)
    if chosen > logging.DEBUG:
        handler.addFilter(wanted)
        for library in TALKATIVE:
            logging.getLogger(library).setLevel(max(chosen, logging.WARNING))
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_enriched(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # a logger made at import must follow a later choice
    )


def connect_celery(settings: Settings) -> None:
    """Make Celery's workers and beat log by `configure`; `-l DEBUG` makes them more talkative, `-f FILE` is obeyed."""
    from celery.signals import setup_logging

    def configured_by_celery(loglevel: int | None = None, logfile: object = None, **_: Any) -> None:
        configure(settings, level=loglevel, file=logfile if isinstance(logfile, str) else None)

    setup_logging.connect(configured_by_celery, weak=False, dispatch_uid="recovery.logs")


def wanted(record: logging.LogRecord) -> bool:
    """Say whether an operator wants to read `record`: everything but the small talk of the libraries."""
    if record.levelno > logging.WARNING:
        return True
    if record.name in TASK_TALK and record.levelno <= logging.INFO:
        return False
    message = record.getMessage()
    return not any(text in message for text in NOISE.get(record.name, ()))


def redact(value: Any) -> Any:
    """Return `value` without passwords in URLs and without texts whose name says that they are secret, at any depth."""
    if isinstance(value, str):
        return _QUERY_SECRET.sub(r"\g<name>***", _URL_PASSWORD.sub(r"\g<user>:***@", value))
    if isinstance(value, Mapping):
        return {name: _redact_named(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item) for item in value]
    return value


def _redact_named(name: str, value: Any) -> Any:
    secret = isinstance(value, str) and value and _SECRET_NAME.fullmatch(name)
    return "***" if secret else redact(value)


def _level(name: str) -> int:
    return logging.getLevelNamesMapping().get(name.upper(), logging.INFO)


def _enriched() -> list[Processor]:
    return [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, structlog.stdlib.PositionalArgumentsFormatter()]


def _fold_exception(_: object, __: str, event: EventDict) -> EventDict:
    """Replace the exception by its last line and the place it came from; JSON keeps the whole traceback beside them."""
    found = event.pop("exc_info", None)
    error = found if isinstance(found, BaseException) else None
    if found is True:
        error = sys.exc_info()[1]
    elif isinstance(found, tuple) and len(found) == 3:
        error = found[1]
    if isinstance(error, BaseException):
        event.setdefault("error", f"{type(error).__name__}: {error}")
        frames = traceback.extract_tb(error.__traceback__)
        if frames:
            event["where"] = f"{Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name}"
        event["traceback"] = "".join(traceback.format_exception(error))
    return event


def _redacted(_: object, __: str, event: EventDict) -> EventDict:
    return {name: value if name.startswith("_") else _redact_named(name, value) for name, value in event.items()}


def _named(_: object, __: str, event: EventDict) -> EventDict:
    """Put time, level, event and what operators look for in front of everything else."""
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog", None)
    head = {
        "timestamp": datetime.fromtimestamp(record.created).astimezone(),
        "level": str(event.pop("level", record.levelname)).upper(),
        "event": str(event.pop("event", "")),
    }
    lead = {name: event.pop(name) for name in LEADING if name in event}
    return {**head, **lead, **event, "logger": record.name}


def _as_json(_: object, __: str, event: EventDict) -> str:
    event["timestamp"] = event["timestamp"].isoformat(timespec="milliseconds")
    return json.dumps(event, default=str, ensure_ascii=False)


def _as_text(_: object, __: str, event: EventDict) -> str:
    when = event.pop("timestamp").strftime("%H:%M:%S.%f")[:-3]
    level, message = event.pop("level"), event.pop("event")
    event.pop("logger")
    event.pop("traceback", None)
    said = _printable(message.strip())
    pairs = [f"{name}={_value(value)}" for name, value in event.items() if value is not None]
    unsaid = [pair for pair in pairs if f" {pair} " not in f"{said} "]  # plain logging writes its own pairs into the message
    return " ".join([when, f"{SHORT.get(level, level):<5}", said, *unsaid])


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _printable(text: str) -> str:
    """Keep the record on its line whatever a service put into the text."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
