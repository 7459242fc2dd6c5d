"""A report is a message that the intake accepts, within its limits and without secrets."""

import json
import logging
import time
from typing import get_args

import pytest

from recovery.client.draft import Draft, encode, kind_of, see, take_details
from recovery.client.redaction import redact, redact_details
from recovery.client.words import CATEGORIES, SEVERITIES, TYPES, CategoryName, known_word
from recovery.models import Category, Failure, FailureType, Severity


def draft_of(error: BaseException | None = None, message: str = "", details: dict[str, object] | None = None, **labels: str) -> Draft:
    return Draft(
        id="id-1",
        service="web",
        category="database",
        type=kind_of(error),
        severity="warning",
        message=message,
        source="test",
        occurred_at=time.time(),
        details=take_details(details),
        labels=labels,
        error=see(error) if error else None,
    )


def connect(password: str) -> None:
    raise ConnectionError(f"cannot reach postgres://app:{password}@db/main")


def failing(password: str) -> None:
    try:
        connect(password)
    except ConnectionError as error:
        raise TimeoutError(f"gave up, password={password}") from error


def caught(password: str = "hunter2") -> BaseException:
    try:
        failing(password)
    except TimeoutError as error:
        return error
    raise AssertionError


def test_the_words_are_those_of_the_models() -> None:
    assert set(get_args(CategoryName)) == CATEGORIES == set(Category)
    assert set(FailureType) == TYPES
    assert set(Severity) | {"warning", "info"} == SEVERITIES


def test_the_intake_accepts_the_message() -> None:
    failure = Failure.model_validate_json(encode(draft_of(caught(), details={"attempt": 3, "object": object()}, region="eu")))

    assert (failure.id, failure.service, failure.category, failure.type) == ("id-1", "web", Category.DATABASE, FailureType.TIMEOUT)
    assert failure.severity is Severity.MEDIUM
    assert failure.message == "TimeoutError: gave up, password=***"
    assert failure.details["attempt"] == 3
    assert failure.details["error_type"] == "TimeoutError"
    assert failure.labels == {"region": "eu"}
    assert abs(failure.occurred_at.timestamp() - time.time()) < 60


def test_the_stack_tells_the_frames_and_the_cause_without_secrets() -> None:
    stack = str(json.loads(encode(draft_of(caught())))["stack"])

    assert stack.index("ConnectionError: cannot reach postgres://app:***@db/main") < stack.index("TimeoutError: gave up")
    assert "in failing" in stack
    assert 'raise TimeoutError(f"gave up' in stack
    assert "hunter2" not in stack


def test_everything_too_long_is_cut_to_what_the_intake_takes() -> None:
    message = encode(draft_of(ValueError("x" * 1_000_000), details={"dump": "y" * 100_000}))

    failure = Failure.model_validate_json(message)
    assert len(failure.message) == 4_000
    assert failure.details["truncated"] == "100012 characters of details were left out"
    assert len(message) < 60_000


def test_a_chain_of_causes_that_never_ends_is_cut() -> None:
    error = ValueError("a")
    error.__cause__ = TypeError("b")
    error.__cause__.__cause__ = error

    assert str(json.loads(encode(draft_of(error)))["stack"]).count("which led to") == 5


def test_an_exception_whose_text_cannot_be_made_is_reported_all_the_same() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert "(its text could not be made)" in json.loads(encode(draft_of(BrokenError())))["message"]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("redis://:s3cret@host:6379/0", "redis://:***@host:6379/0"),
        ("amqp://guest:p@ss:w@rd@mq//", "amqp://guest:***@mq//"),
        ("Authorization: Bearer abcdef123456", "Authorization: *** ***"),
        ("got header Bearer abcdef123456 back", "got header Bearer *** back"),
        ("login(user='u', password='two words')", "login(user='u', password=***)"),
        ('{"api_key": "abc", "user": "u"}', '{"api_key": ***, "user": "u"}'),
        ("DB_PASSWORD=abc SECRET_KEY: def ok=1", "DB_PASSWORD=*** SECRET_KEY: *** ok=1"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc", "***"),
        ("AKIAIOSFODNN7EXAMPLE was refused", "*** was refused"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- end", "*** end"),
        ("http://host:8080/path and 10:30 pass", "http://host:8080/path and 10:30 pass"),
    ],
)
def test_secrets_do_not_leave_the_process(text: str, safe: str) -> None:
    assert redact(text) == safe


def test_details_hide_values_whose_key_names_a_secret() -> None:
    details = {"db": {"Password": "x", "hosts": ["u:p", "mysql://a:b@c"]}, "access_token": {"raw": 1}, "count": 3, "none": None}

    assert redact_details(details) == {
        "db": {"Password": "***", "hosts": ["u:p", "mysql://a:***@c"]},
        "access_token": "***",
        "count": 3,
        "none": None,
    }


@pytest.mark.parametrize(
    "text",
    [
        "token" * 13_000,
        "password" + " " * 60_000,
        "://" + "a" * 60_000,
        "-----BEGIN " * 6_000,
        '"' * 60_000,
        "eyJ" * 20_000,
    ],
)
def test_no_text_makes_redaction_slow(text: str) -> None:
    began = time.process_time()

    redact(text)

    assert time.process_time() - began < 2.0


def test_a_wrong_word_is_replaced_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert known_word("databse", CATEGORIES, "unknown", "category") == "unknown"

    assert "no category 'databse', did you mean 'database'?; 'unknown' is sent instead" in caplog.text
