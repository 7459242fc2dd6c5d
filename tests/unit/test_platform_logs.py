import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from recovery.settings import Settings
from workers import logs

Record = Callable[..., str]


@pytest.fixture
def written() -> Iterator[Record]:
    """Configures logging anew and returns what the given calls wrote."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(*calls: Callable[[], object], **settings: Any) -> str:
        stream = io.StringIO()
        logs.configure(Settings(**settings), stream=stream)
        for call in calls:
            call()
        return stream.getvalue()

    yield run
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def fail(error: Exception) -> None:
    try:
        raise error
    except type(error):
        logs.get_logger().exception("step.failed", service="shop")


def fold() -> None:
    fail(ValueError("first\nsecond"))


def test_a_record_is_one_line_with_what_operators_look_for_first(written: Record) -> None:
    text = written(lambda: logs.get_logger().info("recovery.started", attempt=1, strategy="restart", recovery="8f3a", service="shop"))

    assert text.split(" ", 1)[1] == "INFO  recovery.started service=shop recovery=8f3a strategy=restart attempt=1\n"


def test_a_value_with_spaces_is_quoted_and_a_control_character_never_ends_the_line(written: Record) -> None:
    text = written(
        lambda: logs.get_logger().info("said", message='a "b"\nc'),
        lambda: logging.getLogger("theirs").warning("one\ntwo \x1b[31mred"),
    )

    first, second = text.splitlines()
    assert first.endswith(r'said message="a \"b\"\nc"')
    assert second.endswith(r"WARN  one\ntwo \x1b[31mred")


def test_what_a_plain_message_says_already_is_not_said_twice(written: Record) -> None:
    with structlog.contextvars.bound_contextvars(service="shop", attempt=1):
        text = written(lambda: logging.getLogger("engine").info("attempt.started service=%s attempt=%s", "shop", 12))

    assert text.endswith("attempt.started service=shop attempt=12 attempt=1\n")


def test_an_exception_folds_into_its_line_and_says_where(written: Record) -> None:
    (line,) = written(fold).splitlines()

    assert 'step.failed service=shop error="ValueError: first\\nsecond" where="test_platform_logs.py:' in line
    assert "Traceback" not in line


def test_json_keeps_the_whole_traceback_in_a_field(written: Record) -> None:
    (line,) = written(fold, log_format="json").splitlines()

    record = json.loads(line)
    assert record["event"] == "step.failed"
    assert record["level"] == "ERROR"
    assert record["service"] == "shop"
    assert record["error"] == "ValueError: first\nsecond"
    assert record["traceback"].startswith("Traceback")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_gets_into_the_log(written: Record, log_format: str) -> None:
    def talk() -> None:
        logger = logs.get_logger()
        logger.info("url", url="redis://user:hunter2@host/0", nested={"urls": ["postgresql://u:hunter2@h/db"]}, db_password="hunter2")
        logging.getLogger("theirs").warning("cannot reach %s", "https://api.example.com/?token=hunter2&page=1")
        fail(OSError("redis://:hunt@er2@host failed, hunter is safe: redis://:hunter2@host"))

    text = written(talk, log_format=log_format)

    assert "hunter2" not in text
    assert "hunt@er2" not in text
    assert "redis://user:***@host/0" in text
    assert "page=1" in text


def test_a_fencing_token_is_no_secret() -> None:
    assert logs.redact({"token": 3}) == {"token": 3}


def test_small_talk_of_the_libraries_stays_out(written: Record) -> None:
    def talk() -> None:
        logging.getLogger("celery.beat").info("Scheduler: Sending due task tick (maintenance.tick)")
        logging.getLogger("celery.app.trace").info("Task succeeded", extra={"data": {"name": "health.sweep"}})
        logging.getLogger("celery.worker.strategy").info("Task received", extra={"data": {"name": "maintenance.tick"}})
        logging.getLogger("celery.app.trace").info("Task succeeded", extra={"data": {"name": "strategy.restart"}})
        logging.getLogger("celery.app.trace").error("Task failed", extra={"data": {"name": "health.sweep"}})
        logging.getLogger("celery.worker.consumer.consumer").info("Skipping prefetch count reduction after connection restart")
        logging.getLogger("py.warnings").warning("consumer.py:499: CPendingDeprecationWarning: in Celery 6.0 tasks will be cancelled")
        logging.getLogger("py.warnings").warning("ours.py:1: ResourceWarning: unclosed socket")

    lines = written(talk).splitlines()

    assert [line.split(" ", 1)[1] for line in lines] == ["ERROR Task failed", "WARN  ours.py:1: ResourceWarning: unclosed socket"]


def test_debug_shows_everything(written: Record) -> None:
    text = written(lambda: logging.getLogger("celery.beat").info("Scheduler: Sending due task x"), log_level="debug")

    assert "Sending due task" in text


def test_celery_hands_its_logging_to_us(written: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    from celery.signals import setup_logging

    chosen: list[tuple[Settings, int | None]] = []
    monkeypatch.setattr(logs, "configure", lambda settings, *, level=None, file=None: chosen.append((settings, level)))
    settings = Settings(log_format="json")
    monkeypatch.setattr(setup_logging, "receivers", [])  # a module that was imported before may have connected already

    logs.connect_celery(settings)
    setup_logging.send(sender=None, loglevel=logging.DEBUG, logfile=None)

    assert chosen[-1] == (settings, logging.DEBUG)
