"""Degradation on a real platform: a rule sees a sick service, callers do without, and get it back a part at a time."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from recovery.breaker import RedisBreakers
from recovery.client import RecoveryClient
from recovery.models import BreakerOrder
from recovery.store.connect import connect
from tests.sickbed import Patient
from tests.stage import Stage
from tests.support import eventually

pytestmark = pytest.mark.timeout(300)

TOML = """
[features.suggestions]
priority = 20
[features.checkout]
priority = 100
[capabilities.workers]
limited = 20
[[degradation]]
name = "weak-shop"
service = "shop"
when = "health_score < 50"
until = "health_score > 65"
calm = 1
level = "limited"
ramp = [10, 50]
ramp_stage = 4
"""
PLAN = '[services.ledger.remedies.quarantine]\nbreaker = "ledger"\nttl = 2'


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    patients = [Patient("shop", 'autonomy = "observe"'), Patient("ledger", "healthy_for = 0", PLAN)]
    with Stage(patients, TOML) as stage:
        yield stage


@pytest.fixture
def client(stage: Stage) -> Iterator[RecoveryClient]:
    with RecoveryClient(stage.settings.redis) as client:
        client.warm_up()
        yield client


def listed(stage: Stage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(stage.recovery("degradations", "--json").stdout)
    return found


def changes(stage: Stage, service: str) -> list[str]:
    """Return what was done to degradations of a service, oldest first; each is in the audit trail as well."""
    with stage.store.engine.connect() as connection:
        query = "SELECT data FROM events WHERE name = 'degradation:changed' AND service = '{}' ORDER BY id"
        rows = connection.exec_driver_sql(query.format(service)).scalars().all()
    data = [row if isinstance(row, dict) else json.loads(row) for row in rows]
    return [str(each["change"]) for each in data]


def test_a_rule_degrades_a_sick_service_and_lets_callers_back_by_its_ramp(stage: Stage, client: RecoveryClient) -> None:
    flags = client.flags
    assert flags.enabled("suggestions", service="shop")

    stage.patients["shop"].ail("500")

    eventually(lambda: not flags.enabled("suggestions", service="shop", key="ann"), 60, lambda: stage.tail(40))
    assert flags.enabled("checkout", service="shop")
    assert (flags.level("shop"), client.capability("workers", service="shop")) == ("limited", 20)
    assert flags.enabled("suggestions", service="ledger"), "another service does without nothing"
    (found,) = listed(stage)
    assert (found["service"], found["layer"], found["by"], found["reason"]) == (
        "shop",
        "rule:weak-shop",
        "rule weak-shop",
        "health_score < 50",
    )

    stage.patients["shop"].heal()

    seen: set[int] = set()

    def restored() -> bool:
        seen.add(client.capability("workers", service="shop"))
        return flags.enabled("suggestions", service="shop", key="ann") and 100 in seen

    eventually(restored, 60, lambda: f"{seen}\n{stage.tail(40)}", every=0.01)
    assert {20, 28, 60, 100} >= seen
    assert len(seen) > 2, "not all at once"
    assert changes(stage, "shop") == ["put", "ending"]
    eventually(lambda: listed(stage) == [], 30)


def test_a_quarantine_holds_the_breaker_until_its_time_is_over(stage: Stage, client: RecoveryClient) -> None:
    breakers = RedisBreakers(connect(stage.settings.redis))

    def mode() -> BreakerOrder | None:
        view = breakers.view("ledger")
        return view.mode if view else None

    stage.recovery("trigger", "ledger", "quarantine", "--wait", "--timeout", "60")

    eventually(lambda: mode() is BreakerOrder.AUTO, 60, lambda: stage.tail(40))
    eventually(lambda: not stage.store.mitigations(), 60, lambda: stage.tail(40))
    assert client.capability("traffic", service="ledger") == 100
    told = changes(stage, "ledger")
    assert told[0] == "put"
    assert set(told[1:]) <= {"lapsed", "ended"}
