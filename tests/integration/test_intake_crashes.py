"""A consumer of the reports' stream that is killed at any point loses nothing and doubles nothing; Valkey and processes are real."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import event, func, select

from recovery.config.fleet import CheckDeclaration, Fleet, PlatformDeclaration, ServiceDeclaration
from recovery.engine.desk import Desk
from recovery.errors import RecoveryError
from recovery.models import JsonObject, utcnow
from recovery.ports import Accepted, Strategy
from recovery.registry import Registry
from recovery.store import schema
from recovery.store.connect import connect
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from tests.world import FakeStrategy
from workers import streams
from workers.reports import FIELD, FIELD_OF_MANY, STREAM, Drain

SERVICES = ("shop", "cart", "search")
REPORTS = 60
SINGLE_KILL = 25
"""The report after which a consumer is killed that takes them in one by one."""

Answers = list[Accepted | RecoveryError]


def desk_on(store: SqlStore) -> Desk:
    strategies: Registry[Strategy] = Registry("strategy")
    strategies.add("restart", FakeStrategy("restart", []))
    check = CheckDeclaration.model_validate({"name": "http", "type": "http", "interval": 1, "timeout": 1})
    services = {name: ServiceDeclaration(name=name, checks=(check,)) for name in SERVICES}
    fleet = Fleet(version="v1", platform=PlatformDeclaration(), services=services)
    return Desk(store, strategies, lambda: fleet, utcnow)


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def drain_and_die(point: str, redis_url: str, database: str) -> None:
    """Take reports in until the point is reached, in a process of its own."""
    store = SqlStore.open(database)
    desk = desk_on(store)
    singles = 0

    def receive(payloads: Sequence[JsonObject]) -> Answers:
        nonlocal singles
        if point == "as soon as it was read":
            die()
        if point == "one by one":
            if len(payloads) > 1:
                raise ZeroDivisionError("one of these cannot be taken in")
            singles += 1
        answers = desk.report_many(payloads, "stream")
        if point == "between commit and acknowledgement" or singles == SINGLE_KILL:
            die()
        return answers

    if point == "in the middle of the batch":
        event.listen(store.engine, "after_cursor_execute", lambda *seen: die() if "INTO decisions" in seen[2] else None)
    if point == "before the commit":
        event.listen(store.engine, "commit", die)
    following: Callable[[Sequence[object]], None] = die if point == "after the acknowledgement" else lambda _answers: None
    drain = Drain(connect(redis_url), "doomed", receive, lambda _garbage: None, following)
    drain.join()
    drain.turn()


@pytest.fixture
def redis(redis_client: Redis, valkey_url: str) -> Iterator[Redis]:
    """The client that the platform uses, on an empty server."""
    client = connect(valkey_url)
    yield client
    client.close()


@pytest.mark.parametrize(
    ("point", "together"),
    [
        ("as soon as it was read", 1),
        ("in the middle of the batch", 1),
        ("before the commit", 1),
        ("between commit and acknowledgement", 1),
        ("between commit and acknowledgement", 7),
        ("after the acknowledgement", 1),
        ("one by one", 1),
        ("one by one", 7),
    ],
)
def test_a_killed_consumer_loses_and_doubles_nothing(
    point: str, together: int, redis: Redis, valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = f"sqlite:///{tmp_path}/history.db"
    migrate(database)
    numbers = [*range(REPORTS), 3, 7]  # two of them come twice
    sent = [{"id": f"f-{number}", "service": SERVICES[number % 3], "category": "database"} for number in numbers]
    for first in range(0, len(sent), together):
        if together == 1:
            redis.xadd(STREAM, {FIELD: json.dumps(sent[first])})
        else:
            redis.xadd(STREAM, {FIELD_OF_MANY: json.dumps(sent[first : first + together])})

    doomed = multiprocessing.get_context("spawn").Process(target=drain_and_die, args=(point, valkey_url, database))
    doomed.start()
    doomed.join(timeout=60)
    assert doomed.exitcode == -signal.SIGKILL
    monkeypatch.setattr(streams, "CLAIM_IDLE", 0)
    store = SqlStore.open(database)
    heir = Drain(redis, "heir", lambda payloads: desk_on(store).report_many(payloads, "stream"), lambda _garbage: None)
    heir.join()
    while redis.xlen(STREAM):
        heir.turn()

    with store.engine.connect() as connection:
        kept = connection.execute(select(func.count()).select_from(schema.failures)).scalar_one()
        stored = connection.execute(select(func.count(schema.failures.c.failure_id.distinct()))).scalar_one()
    open_now = store.open_recoveries()
    store.engine.dispose()
    assert (kept, stored) == (REPORTS, REPORTS)
    assert {row.service: row.failures for row in open_now} == dict.fromkeys(SERVICES, REPORTS // 3)
