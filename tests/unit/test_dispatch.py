"""What is sent, and what becomes of it when the broker or the database is away."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from recovery.config.fleet import Fleet, ServiceDeclaration
from recovery.errors import StoreUnavailable
from recovery.models import Failure, Outcome
from recovery.ports import Done, Execute, Wait
from workers import dispatch
from workers.tasks import intake

EXECUTE = Execute("r-1", "shop", "restart", "restart", 2)


class FakeApp:
    """Keeps what was sent, or is away."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.ended: list[str] = []

    def send_task(self, name: str, **options: Any) -> None:
        if self.error:
            raise self.error
        self.sent.append((name, options))


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> FakeApp:
    fake = FakeApp()
    shop = ServiceDeclaration(name="shop", attempt_timeout=90, attempt_grace=30)
    fleet = Fleet(version="v1", services={"shop": shop})
    monkeypatch.setattr(dispatch, "app", fake)
    monkeypatch.setattr(dispatch, "announce", fake.ended.append)
    monkeypatch.setattr(dispatch, "platform", lambda: SimpleNamespace(fleet=lambda: fleet))
    return fake


def test_the_strategy_goes_to_its_queue_with_nothing_but_ids(app: FakeApp) -> None:
    dispatch.obey(EXECUTE)

    [(name, options)] = app.sent
    assert name == "strategy.restart"
    assert options["queue"] == "restart"
    assert options["kwargs"] == {"service": "shop", "recovery_id": "r-1", "attempt": 2}


@pytest.mark.parametrize(("service", "seconds"), [("shop", 120), ("gone", 300)])
def test_the_strategy_is_sent_with_the_hard_limit_of_its_service(app: FakeApp, service: str, seconds: float) -> None:
    dispatch.obey(replace(EXECUTE, service=service))

    [(_name, options)] = app.sent
    assert options["time_limit"] == seconds


def test_an_attempt_sent_twice_is_one_task(app: FakeApp) -> None:
    dispatch.obey(EXECUTE)
    dispatch.obey(EXECUTE)

    assert {options["task_id"] for _name, options in app.sent} == {"r-1.2"}


def test_a_wait_needs_no_message(app: FakeApp) -> None:
    dispatch.obey(Wait("r-1", datetime(2026, 1, 1, tzinfo=UTC)))

    assert (app.sent, app.ended) == ([], [])


def test_an_end_is_told_to_services_and_needs_no_task(app: FakeApp) -> None:
    dispatch.obey(Done("r-1", Outcome.RESOLVED))

    assert (app.sent, app.ended) == ([], ["r-1"])


@pytest.mark.parametrize("error", [OperationalError("refused"), ConnectionRefusedError()])
def test_a_broker_that_is_away_is_left_to_the_tick(app: FakeApp, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    app.error = error

    dispatch.obey(EXECUTE)

    assert "could not send strategy.restart" in caplog.text


def test_a_report_shows_what_a_person_needs_and_not_its_details(app: FakeApp) -> None:
    dispatch.report(Failure(service="shop", message="no answer", details={"token": "hush"}))

    [(name, options)] = app.sent
    assert name == "recovery.report_failure"
    assert options["kwargsrepr"] == "{'service': 'shop', 'category': 'unknown', 'message': 'no answer'}"
    assert options["kwargs"]["details"] == {"token": "hush"}


def test_a_report_is_kept_in_the_stream_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    stream: list[tuple[str, dict[bytes, str]]] = []

    def away(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(intake, "take_in", away)
    redis = SimpleNamespace(xadd=lambda key, fields: stream.append((key, fields)))
    monkeypatch.setattr(intake, "platform", lambda: SimpleNamespace(redis=redis))

    answer = intake.report_failure(service="shop", message="down")

    assert answer == {"recovery_id": None, "intake": "kept"}
    [(key, fields)] = stream
    assert key == "recovery:reports"
    assert json.loads(fields[b"failure"]) == {"service": "shop", "message": "down"}
