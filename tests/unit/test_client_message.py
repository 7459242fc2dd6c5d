"""A report is a message that the intake accepts, within its limits and without secrets."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast, get_args

import pytest

from recovery.client import RecoveryClient, Stats
from recovery.client.clean import UNREADABLE, clean_text
from recovery.client.draft import LONGEST_TEXT, Draft, encode, kind_of, see, take_details
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

    assert time.process_time() - began < 10.0


def test_a_wrong_word_is_replaced_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert known_word("databse", CATEGORIES, "unknown", "category") == "unknown"

    assert "'unknown' is sent instead of the unknown category 'databse', did you mean 'database'?" in caplog.text


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError


def nested(levels: int) -> dict[str, object]:
    value: dict[str, object] = {"bottom": "\0"}
    for _ in range(levels):
        value = {"in": value}
    return value


def circle() -> dict[str, object]:
    value: dict[str, object] = {}
    value["again"] = value
    return value


Reported = Callable[..., Failure]


@pytest.fixture
def reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reported]:
    """Returns what the intake would read of one call of `report`; nothing is sent."""
    client = RecoveryClient("redis://127.0.0.1:1/0", spool=tmp_path, source="te\0st")
    drafts: list[Draft] = []
    monkeypatch.setattr("recovery.client.sender.Sender.put", lambda _sender, draft: drafts.append(draft))

    def report(*arguments: Any, **named: Any) -> Failure:
        report_id = client.report("web", *arguments, **named)
        (draft,) = drafts
        failure = Failure.model_validate_json(encode(draft))
        assert failure.id == report_id
        failure.model_dump_json().encode()  # no half character anywhere
        assert "\\u0000" not in failure.model_dump_json()
        return failure

    yield report
    client.close()
    assert client.stats().dropped == 0


@pytest.mark.parametrize(
    ("named", "field", "value"),
    [
        ({"severity": "HIGHEST"}, "severity", "high"),
        ({"severity": None}, "severity", "high"),
        ({"severity": 50}, "severity", "high"),
        ({"severity": "Critical "}, "severity", "critical"),
        ({"severity": ["low"]}, "severity", "high"),
        ({"type": "crash"}, "type", "error"),
        ({"type": {}}, "type", "error"),
        ({"type": "Panic"}, "type", "panic"),
        ({"category": Unspeakable()}, "category", "unknown"),
        ({"category": Category.DATABASE}, "category", "database"),
        ({"labels": {"shard": 3, 4: None, "\0": "a\ud800b"}}, "labels", {"shard": "3", "4": "", UNREADABLE: f"a{UNREADABLE}b"}),
        ({"labels": ["eu", "us"]}, "labels", {"label": "['eu', 'us']"}),
        ({"labels": {"odd": Unspeakable()}}, "labels", {"odd": "(its text could not be made)"}),
        ({"message": "a\0b\ud800c \U0001f525"}, "message", f"a{UNREADABLE}b{UNREADABLE}c \U0001f525"),
        ({"message": b"bytes"}, "message", "b'bytes'"),
        ({"message": Unspeakable()}, "message", "(its text could not be made)"),
        ({"error": {"code": 7}}, "message", "{'code': 7}"),
        ({"fingerprint": 17}, "fingerprint", "17"),
        ({"fingerprint": "\udfff" * 70}, "fingerprint", UNREADABLE * 64),
        ({"recoverable": 0}, "recoverable", False),
        ({"details": {"k\0": ["\udc80", float("nan"), 2**70]}}, "details", {f"k{UNREADABLE}": [UNREADABLE, "nan", str(2**70)]}),
        ({"details": ["a", 1]}, "details", {"details": ["a", 1]}),
        ({"details": MappingProxyType({"a": 1})}, "details", {"a": 1}),
        ({"details": {"odd": Unspeakable(), ("a", 1): 2}}, "details", {"odd": "(its text could not be made)"}),
        ({"details": circle()}, "details", {"unreadable": "the details could not be made into JSON: ValueError"}),
        ({"details": {"big": 10**5_000}}, "details", {"unreadable": "the details could not be made into JSON: ValueError"}),
        ({}, "source", f"te{UNREADABLE}st"),
    ],
)
def test_an_odd_value_does_not_cost_the_report(reported: Reported, named: dict[str, Any], field: str, value: object) -> None:
    assert getattr(reported(**named), field) == value


def test_labels_are_limited_in_number_and_length(reported: Reported) -> None:
    secret = "x" * 495 + " password=" + "s" * 100

    labels = reported(labels={f"{place:03}" + "n" * 1_000: secret for place in range(10_000)}).labels

    assert list(labels) == [f"{place:03}" + "n" * 97 for place in range(50)]
    assert set(labels.values()) == {"x" * 495 + " pass"}


@pytest.mark.parametrize("levels", [40, 400, 100_000])
def test_details_of_any_depth_are_accepted(reported: Reported, levels: int) -> None:
    assert reported(details=nested(levels)).details


def test_an_exception_with_odd_text_and_file_name_is_reported(reported: Reported) -> None:
    try:
        exec(compile("raise ValueError('a\\0b\\ud800c')", "w\udce4re.py", "exec"))
    except ValueError as error:
        failure = reported(error, details="not a table")

    assert failure.message == f"ValueError: a{UNREADABLE}b{UNREADABLE}c"
    assert failure.stack is not None
    assert f"w{UNREADABLE}re.py" in failure.stack
    assert failure.details == {"details": "not a table", "error_type": "ValueError"}


@pytest.mark.parametrize("name", ["no name", "\ud800", "", None, 7], ids=ascii)
def test_a_heartbeat_of_nobody_is_said_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: Any) -> None:
    with RecoveryClient("redis://127.0.0.1:1/0", spool=tmp_path) as client:
        client.heartbeat(name)

        assert client.stats().queued == 0
    assert f"heartbeat of '{clean_text(str(name or ''))}' is left out" in caplog.text


class Unhashable(Unspeakable):
    def __hash__(self) -> int:
        raise RuntimeError

    __repr__ = Unspeakable.__str__


def test_a_service_that_cannot_even_be_named_costs_the_report_and_nothing_else(tmp_path: Path) -> None:
    with RecoveryClient("redis://127.0.0.1:1/0", spool=tmp_path) as client:
        assert client.report(cast("str", Unhashable()), "x")
        client.heartbeat(cast("str", Unhashable()))

        assert client.stats() == Stats(dropped=1)


def test_what_waits_in_memory_is_bounded() -> None:
    assert len(see(ValueError("x" * 1_000_000)).text) == LONGEST_TEXT
