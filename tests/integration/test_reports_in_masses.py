"""However many equal reports come, they are one recovery in the database that has counted them all."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from redis import Redis

from recovery.config.fleet import Fleet, PlatformDeclaration, ServiceDeclaration
from recovery.engine.desk import Desk
from recovery.errors import RecoveryError
from recovery.models import JsonObject, utcnow
from recovery.ports import Accepted, Intake, Store, Strategy
from recovery.registry import Registry
from recovery.store.connect import connect
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from tests.world import FakeStrategy
from workers.reports import BATCH, FIELD, STREAM, Drain

MASSES = 100_000
MANY = 5_000
TWICE = (3, 7, MANY - 1)
"""Reports whose client did not hear that they had arrived, and sent them again."""


def desk_on(store: Store) -> Desk:
    strategies: Registry[Strategy] = Registry("strategy")
    strategies.add("restart", FakeStrategy("restart", []))
    fleet = Fleet(version="v1", platform=PlatformDeclaration(), services={"shop": ServiceDeclaration(name="shop")})
    return Desk(store, strategies, lambda: fleet, utcnow)


def report(number: int) -> JsonObject:
    return {"id": f"f-{number}", "service": "shop", "category": "service_unavailable", "message": "no answer"}


def intakes(answers: Sequence[Accepted | RecoveryError]) -> Counter[Intake]:
    return Counter(answer.intake for answer in answers if isinstance(answer, Accepted))


@pytest.fixture
def store(sqlite_url: str) -> Iterator[SqlStore]:
    migrate(sqlite_url)
    store = SqlStore.open(sqlite_url)
    yield store
    store.engine.dispose()


@pytest.mark.slow
def test_a_hundred_thousand_equal_reports_are_one_recovery_that_counts_them_all(store: SqlStore) -> None:
    """In the batches of the stream, but without it: what is proven is the count, not the way."""
    desk, told = desk_on(store), Counter[Intake]()

    for first in range(0, MASSES, BATCH):
        told += intakes(desk.report_many([report(number) for number in range(first, first + BATCH)], "stream"))

    (recovery,) = store.open_recoveries()
    assert (recovery.service, recovery.failures) == ("shop", MASSES)
    assert told == {Intake.OPENED: 1, Intake.MERGED: MASSES - 1}


@pytest.fixture
def redis(redis_client: Redis, valkey_url: str) -> Iterator[Redis]:
    """The client that the platform uses, on an empty server."""
    client = connect(valkey_url)
    yield client
    client.close()


def test_thousands_of_equal_reports_in_the_stream_are_one_recovery_some_of_them_sent_twice(redis: Redis, store: SqlStore) -> None:
    desk, told, refused = desk_on(store), Counter[Intake](), list[tuple[str, str]]()
    with redis.pipeline(transaction=False) as pipe:
        for number in [*range(MANY), *TWICE]:
            pipe.xadd(STREAM, {FIELD: json.dumps(report(number))})
        pipe.execute()

    def receive(payloads: Sequence[JsonObject]) -> list[Accepted | RecoveryError]:
        answers = desk.report_many(payloads, "stream")
        told.update(intakes(answers))
        return answers

    drain = Drain(redis, "worker", receive, refused.extend)
    drain.join()
    while redis.xlen(STREAM):
        drain.turn()

    (recovery,) = store.open_recoveries()
    assert (recovery.service, recovery.failures) == ("shop", MANY)
    assert told == {Intake.OPENED: 1, Intake.MERGED: MANY - 1, Intake.DUPLICATE: len(TWICE)}
    assert refused == []
