"""A circuit breaker of a real service opens: the platform hears of it, probes, closes it for everybody, and keeps its history."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from recovery.breaker import Breaker
from recovery.client import CircuitOpen, RecoveryClient
from recovery.models import Outcome, utcnow
from recovery.store.schema import events
from tests.stage import Stage
from tests.support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def refuse() -> None:
    raise ConnectionError("refused")


def passes(breaker: Breaker) -> bool:
    with contextlib.suppress(CircuitOpen):
        return breaker.call(lambda: True)
    return False


def test_a_breaker_that_opened_is_probed_and_closed_by_a_recovery_and_its_history_is_kept(stage: Stage, tmp_path: Path) -> None:
    since = utcnow()
    with RecoveryClient(stage.settings.redis, spool=tmp_path) as client:
        breaker = client.breaker("gate-calls", failure_threshold=3, reset_timeout=600, service="gate")
        assert client.warm_up(30)
        for _ in range(3):
            with pytest.raises(ConnectionError):
                breaker.call(refuse)
        assert breaker.state == "open"
        beside = client.breaker("gate-reads", failure_threshold=1, success_threshold=1, reset_timeout=600, service="gate")
        with pytest.raises(ConnectionError):
            beside.call(refuse)

        recovery = stage.closed("gate", since)

        assert recovery.outcome is Outcome.RESOLVED
        eventually(lambda: breaker.state == "closed", within=60)
        eventually(lambda: passes(beside), within=60, message="nobody resets it, but its service is well")
        eventually(lambda: beside.state == "closed", within=60)
    story = stage.story(recovery)
    assert [attempt.strategy for attempt in story.attempts] == ["circuit_reset"]

    def told() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(stage.recovery("breakers", "show", "gate-calls", "--json").stdout)
        return found

    changes = eventually(lambda: (found := told()["changes"]) and found[0]["after"] == "closed" and found, within=60)
    words = [change["after"] for change in reversed(changes) if change["after"] != "repairing"]
    assert words[0] == "open"
    assert words[-2:] == ["half_open", "closed"]
    assert all(change["service"] == "gate" for change in changes)

    def names() -> list[str]:
        with stage.store.engine.connect() as connection:
            named = select(events.c.name).where(events.c.service == "gate", events.c.name.like("circuit:%")).order_by(events.c.id)
            return list(connection.execute(named).scalars())

    eventually(lambda: names().count("circuit:closed") == 2, within=60)
    assert names().count("circuit:open") == 2
    assert names()[-1] == "circuit:closed"
