"""A queue that nobody serves gets no more canaries once it is crowded."""

import pytest
from celery import Celery
from redis import Redis

from tests.support import free_port
from workers.crowds import crowded


@pytest.fixture
def app(redis_client: Redis, valkey_url: str) -> Celery:
    app = Celery("sender", broker=valkey_url.replace("unix://", "redis+socket://"), set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": "recovery:celery:"}
    return app


def fill(app: Celery, queue: str, number: int) -> None:
    with app.connection_for_write() as connection:
        connection.default_channel.queue_declare(queue=queue)
        producer = connection.Producer()
        for _ in range(number):
            producer.publish({}, routing_key=queue, exchange="")


def test_queues_with_many_messages_are_told_from_those_with_few(app: Celery) -> None:
    fill(app, "served", 3)
    fill(app, "unserved", 4)

    assert crowded(app, ["served", "unserved"], limit=4) == {"unserved"}


def test_a_queue_that_nobody_used_yet_is_not_crowded(app: Celery) -> None:
    fill(app, "unserved", 1)

    assert crowded(app, ["never-declared", "unserved"], limit=1) == {"unserved"}


def test_a_broker_that_is_away_says_nothing() -> None:
    app = Celery("sender", broker=f"redis://127.0.0.1:{free_port()}/0", set_as_current=False)

    assert crowded(app, ["served"]) == frozenset()
