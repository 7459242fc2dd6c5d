"""From the commit that closes a recovery to the caller who waits for it: through a real Redis."""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recovery.breaker import BreakerOptions, RedisBreakers
from recovery.breaker.fleet import Ended
from recovery.breaker.shared import SharedCircuits
from recovery.client import RecoveryClient
from recovery.errors import RecoveryError, StoreUnavailable
from recovery.ports import Done
from tests.support import eventually, free_port
from tests.world import World
from workers import dispatch, endings

KEY = "recovery:service:web"


@pytest.fixture(autouse=True)
def not_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings.Quiet, "until", 0.0)


def at(redis: Redis, world: World) -> Any:
    """The parts of a platform that tell of an end."""
    return SimpleNamespace(store=world.store, redis=redis, breakers=RedisBreakers(redis))


@pytest.fixture
def world(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World("restart")
    world.now = datetime.now(UTC)  # callers compare it with their own clock
    monkeypatch.setattr(endings, "platform", lambda: at(redis_client, world))
    return world


@pytest.fixture
def client(valkey_url: str, redis_client: Redis, tmp_path: Path) -> Iterator[RecoveryClient]:
    with RecoveryClient(valkey_url, spool=tmp_path) as client:
        yield client


def end_one(world: World) -> str:
    """Carry a recovery to its end, as the platform does, and return its id."""
    recovery_id = world.report()
    directive = world.run(recovery_id)
    assert isinstance(directive, Done)
    dispatch.obey(directive)
    return recovery_id


def told(redis: Redis) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(cast("bytes", redis.get(KEY)) or b"{}"))


def test_the_end_of_a_recovery_is_told_and_can_be_looked_up(world: World, redis_client: Redis) -> None:
    with redis_client.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]
        heard.subscribe("recovery:service:changed")
        eventually(lambda: redis_client.pubsub_numsub("recovery:service:changed")[0][1])

        recovery_id = end_one(world)

        message = eventually(lambda: heard.get_message(timeout=1.0))
    finished = world.recovery(recovery_id).finished_at
    assert finished is not None
    expected = {"service": "web", "recovery_id": recovery_id, "state": "succeeded", "outcome": "resolved", "at": finished.timestamp()}
    assert told(redis_client) == json.loads(message["data"]) == pytest.approx(expected)
    assert 0 < redis_client.ttl(KEY) <= endings.KEPT


def test_the_same_end_is_told_once_and_an_older_one_never(world: World, redis_client: Redis) -> None:
    first = end_one(world)
    world.later(1_000)
    second = end_one(world)

    with redis_client.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]
        heard.subscribe("recovery:service:changed")
        eventually(lambda: redis_client.pubsub_numsub("recovery:service:changed")[0][1])
        endings.announce(first)
        endings.announce(second)
        redis_client.publish("recovery:service:changed", "nothing before this")
        message = eventually(lambda: heard.get_message(timeout=1.0))

    assert message["data"] == b"nothing before this"
    assert told(redis_client)["recovery_id"] == second


def test_breakers_may_be_probed_before_callers_hear_that_their_service_is_well(world: World, redis_client: Redis) -> None:
    board = open_breakers(redis_client)
    states: list[str] = []

    with redis_client.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]
        heard.subscribe("recovery:service:changed", "recovery:breaker:changed")
        eventually(lambda: redis_client.pubsub_numsub("recovery:service:changed")[0][1])
        end_one(world)
        while not states or states[-1] != "succeeded":
            message = eventually(lambda: heard.get_message(timeout=1.0))
            states.append(json.loads(message["data"])["state"])

    assert states == ["half_open", "half_open", "succeeded"]
    assert {view.name: view.state.value for view in board.views()} == {"a-web": "half_open", "b-web": "half_open", "other": "open"}


def test_a_breaker_that_opens_after_the_end_is_left_alone_when_the_end_is_told_again(world: World, redis_client: Redis) -> None:
    ended = end_one(world)
    board = open_breakers(redis_client)

    endings.announce(ended)

    assert {view.state.value for view in board.views()} == {"open"}


def test_a_service_that_is_only_mitigated_keeps_its_breakers_open(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("degrade")
    monkeypatch.setattr(endings, "platform", lambda: at(redis_client, world))
    board = open_breakers(redis_client)

    end_one(world)

    assert told(redis_client)["outcome"] == "mitigated"
    assert {view.state.value for view in board.views()} == {"open"}


def open_breakers(redis: Redis) -> RedisBreakers:
    """Open two breakers of web and one of another service, for long."""
    circuits = SharedCircuits(redis, "caller")
    for name, service in (("a-web", "web"), ("b-web", "web"), ("other", "api")):
        circuits.tell(name, BreakerOptions(failure_threshold=1, reset_timeout=600, service=service), [Ended("failed", reason="boom")])
    return RedisBreakers(redis)


@pytest.fixture
def away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    redis = Redis(port=free_port(), retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(endings, "platform", lambda: at(redis, world))


@pytest.mark.usefixtures("away")
def test_what_cannot_be_told_breaks_nothing_and_is_not_tried_for_each(world: World, caplog: pytest.LogCaptureFixture) -> None:
    end_one(world)
    world.later(1_000)
    end_one(world)

    assert caplog.text.count("nobody was told that recovery") == 1


def test_an_end_that_cannot_be_read_breaks_nothing(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_recovery_id: str) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(endings, "platform", lambda: SimpleNamespace(store=SimpleNamespace(recovery=broken), redis=redis_client))

    endings.announce("r-1")

    assert "nobody was told that recovery r-1 has ended" in caplog.text


def test_a_caller_waits_for_the_recovery_and_tries_once_more(world: World, client: RecoveryClient, redis_client: Redis) -> None:
    assert client.warm_up(30.0)
    failed, mended = Event(), Event()

    def charge() -> str:
        if not mended.is_set():
            failed.set()
            raise ConnectionError("gateway is down")
        return "charged"

    def mend() -> None:
        failed.wait(30.0)
        mended.set()
        end_one(world)

    platform = Thread(target=mend)
    platform.start()
    result = client.execute_with_healing(charge, service="web", attempts=1, wait_for_recovery=60.0)
    platform.join()

    assert result == "charged"
    eventually(lambda: client.stats().sent == 1, message="the failure is reported, or there would be no recovery")


def test_coroutines_wait_side_by_side(world: World, client: RecoveryClient) -> None:
    assert client.warm_up(30.0)
    mended = Event()
    calls = []

    async def charge() -> str:
        calls.append(1)
        if not mended.is_set():
            raise ConnectionError("gateway is down")
        return "charged"

    async def all_charge() -> list[str]:
        client.breaker("web", failure_threshold=1_000)
        waiting = [
            asyncio.create_task(client.aexecute_with_healing(charge, service="web", attempts=1, wait_for_recovery=60.0)) for _ in range(20)
        ]
        while len(calls) < 20:  # noqa: ASYNC110 - the condition is this loop's own
            await asyncio.sleep(0.01)
        mended.set()
        await asyncio.to_thread(end_one, world)
        return await asyncio.gather(*waiting)

    assert asyncio.run(all_charge()) == ["charged"] * 20


def test_a_lost_push_costs_a_wait_for_the_next_look_only(client: RecoveryClient, redis_client: Redis) -> None:
    assert client.warm_up(30.0)
    ending = {"service": "web", "recovery_id": "r-1", "state": "succeeded", "outcome": "resolved", "at": time.time() + 60.0}
    answers = iter([ConnectionError("down")])

    def charge() -> str:
        for error in answers:
            redis_client.set(KEY, json.dumps(ending))  # the platform's push was lost
            raise error
        return "charged"

    assert client.execute_with_healing(charge, service="web", attempts=1, wait_for_recovery=60.0) == "charged"


def test_without_redis_the_wait_ends_by_itself(tmp_path: Path) -> None:
    def charge() -> None:
        raise ConnectionError("gateway is down")

    with RecoveryClient(f"redis://127.0.0.1:{free_port()}", spool=tmp_path) as client:
        with pytest.raises(ConnectionError, match="gateway"):
            client.execute_with_healing(charge, service="web", attempts=1, wait_for_recovery=0.2)

        eventually(lambda: client.stats().spooled == 1)


def test_closing_the_client_ends_every_wait(client: RecoveryClient) -> None:
    began, ended = Event(), Event()

    def charge() -> None:
        began.set()
        raise ConnectionError("gateway is down")

    def wait() -> None:
        with pytest.raises((ConnectionError, RecoveryError)):
            client.execute_with_healing(charge, service="web", attempts=1, wait_for_recovery=3_600.0)
        ended.set()

    thread = Thread(target=wait)
    thread.start()
    began.wait(30.0)

    client.close()

    assert ended.wait(30.0)
    thread.join()
