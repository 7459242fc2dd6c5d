"""Many workers judge one rule at once, on a real database and a real Valkey: one puts it in force, one lets it go, each told once."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import select

from recovery.breaker import RedisBreakers
from recovery.config.degradation import DegradationRule
from recovery.config.fleet import CheckDeclaration, Fleet, ServiceDeclaration
from recovery.degrade import RedisDegradations
from recovery.engine.ruling import Ruling
from recovery.models import Degradation, Level, ServiceState, Status, utcnow
from recovery.store.engine import dispose
from recovery.store.migrate import migrate
from recovery.store.schema import audit as audit_table
from recovery.store.schema import events as events_table
from recovery.store.sql import SqlStore
from tests.servers.rooms import POSTGRES, own_database

JUDGES = 6
RULE = {"name": "weak", "service": "shop", "when": "health_score < 50", "calm": 0, "level": "limited", "ramp": [10], "ramp_stage": 600}


@pytest.fixture(params=["sqlite", "postgresql"] if POSTGRES else ["sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    with own_database() if request.param == "postgresql" else nullcontext(f"sqlite:///{tmp_path / 'history.db'}") as url:
        migrate(url)
        store = SqlStore.open(url)
        yield store
        dispose(store.engine)


@pytest.fixture
def fleet() -> Fleet:
    check = CheckDeclaration.model_validate({"name": "http", "type": "http", "interval": 1, "timeout": 1})
    services = {"shop": ServiceDeclaration(name="shop", checks=(check,))}
    return Fleet(version="v1", services=services, degradation=(DegradationRule.model_validate(RULE),))


def see(store: SqlStore, score: int) -> None:
    now = utcnow()
    store.record_sweep([], [], [ServiceState("shop", Status.UNHEALTHY, score, since=now, seen_at=now)], [], now=now)


def told(store: SqlStore) -> Counter[str]:
    with store.engine.connect() as connection:
        events = Counter(
            found["change"] for found in connection.scalars(select(events_table.c.data).where(events_table.c.name == "degradation:changed"))
        )
        audited = connection.scalars(select(audit_table.c.detail).where(audit_table.c.action == "degradation_changed"))
        assert Counter(found["change"] for found in audited) == events
    return events


@pytest.fixture
def look_at_once(store: SqlStore, fleet: Fleet, redis_client: Redis) -> Callable[[], None]:
    """Let every judge look twice, all at the same time."""
    degradations, breakers = RedisDegradations(redis_client), RedisBreakers(redis_client)
    judges = [Ruling(store, degradations, breakers, lambda: fleet, utcnow) for _ in range(JUDGES)]

    def look() -> None:
        with ThreadPoolExecutor(JUDGES) as pool:
            for judge in [pool.submit(judge.look) for judge in judges * 2]:
                judge.result()

    return look


def test_of_many_judges_at_once_one_puts_a_rule_in_force_and_one_lets_it_go(
    store: SqlStore, redis_client: Redis, look_at_once: Callable[[], None]
) -> None:
    degradations = RedisDegradations(redis_client)
    see(store, 0)

    look_at_once()
    found = degradations.current("shop", "rule:weak")
    assert found is not None
    assert found.until > utcnow() + timedelta(seconds=600)
    assert told(store) == {"put": 1}

    see(store, 100)
    look_at_once()
    found = degradations.current("shop", "rule:weak")
    assert found is not None
    assert found.until <= utcnow()
    assert told(store) == {"put": 1, "ending": 1}

    see(store, 0)
    look_at_once()
    found = degradations.current("shop", "rule:weak")
    assert found is not None
    assert found.until > utcnow()
    assert told(store) == {"put": 2, "ending": 1}


def test_of_many_judges_at_once_one_takes_over_what_a_lost_database_knew_and_one_lets_it_go(
    store: SqlStore, redis_client: Redis, look_at_once: Callable[[], None]
) -> None:
    degradations, now = RedisDegradations(redis_client), utcnow()
    before = Degradation("shop", Level.LIMITED, now, now + timedelta(seconds=800), reason="health_score < 50", layer="rule:weak", fence=57)
    degradations.put(replace(before, ramp=(10,), ramp_stage=600, by="rule weak"))
    see(store, 52)

    look_at_once()
    assert store.rule_standings()["weak"].in_force
    assert told(store) == {}

    see(store, 100)
    look_at_once()
    found = degradations.current("shop", "rule:weak")
    assert found is not None
    assert found.until <= utcnow()
    assert not store.rule_standings()["weak"].in_force
    assert told(store) == {"ending": 1}
