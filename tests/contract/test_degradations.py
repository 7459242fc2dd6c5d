"""Degradations and endpoints keep the same promises in memory and in Redis."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from structlog.testing import capture_logs

from recovery.degrade import MemoryDegradations, MemoryEndpoints, RedisDegradations, RedisEndpoints
from recovery.degrade.keys import DEGRADATION, DEGRADATION_CHANGED, DEGRADATIONS, ENDPOINT, ENDPOINT_CHANGED
from recovery.errors import StoreUnavailable
from recovery.models import Degradation, Endpoint, Level, utcnow
from recovery.ports import Degradations, Endpoints
from tests.support import eventually


def degraded(service: str = "search", seconds: float = 60.0, fence: int = 1) -> Degradation:
    now = utcnow()
    return Degradation(
        service=service,
        level=Level.LIMITED,
        since=now,
        until=now + timedelta(seconds=seconds),
        features_off=("suggestions", "facets"),
        capabilities={"indexing": 20},
        reason="out of memory",
        recovery_id="r-1",
        fence=fence,
    )


def backup(service: str = "db", fence: int = 1) -> Endpoint:
    return Endpoint(service=service, name="replica", url="http://replica:1", since=utcnow(), recovery_id="r-1", fence=fence)


@pytest.fixture(params=["memory", "redis"])
def degradations(request: pytest.FixtureRequest) -> Degradations:
    if request.param == "memory":
        return MemoryDegradations()
    return RedisDegradations(request.getfixturevalue("redis_client"))


@pytest.fixture(params=["memory", "redis"])
def endpoints(request: pytest.FixtureRequest) -> Endpoints:
    return MemoryEndpoints() if request.param == "memory" else RedisEndpoints(request.getfixturevalue("redis_client"))


def test_a_service_is_normal_until_something_is_put_in_force(degradations: Degradations) -> None:
    assert degradations.current("search") is None
    assert degradations.all() == []


def test_what_was_put_comes_back_unchanged(degradations: Degradations) -> None:
    given = degraded()

    assert degradations.put(given)

    assert degradations.current("search") == given
    assert degradations.all() == [given]


def test_all_lists_every_service_by_name(degradations: Degradations) -> None:
    degradations.put(degraded("web"))
    degradations.put(degraded("api"))

    assert [found.service for found in degradations.all()] == ["api", "web"]


def test_an_older_fence_changes_no_degradation(degradations: Degradations) -> None:
    newer = degraded(fence=7)
    degradations.put(newer)

    assert not degradations.put(degraded(fence=6))
    assert not degradations.clear("search", 6)

    assert degradations.current("search") == newer


def test_the_same_fence_may_replace_and_clear(degradations: Degradations) -> None:
    degradations.put(degraded(fence=7))

    assert degradations.put(degraded(fence=7, seconds=120))
    assert degradations.clear("search", 7)

    assert degradations.current("search") is None
    assert degradations.all() == []


def test_clearing_what_is_not_there_says_so(degradations: Degradations) -> None:
    assert not degradations.clear("search", 99)


def test_a_degradation_ends_by_itself(degradations: Degradations) -> None:
    degradations.put(degraded(seconds=0.1, fence=9))

    eventually(lambda: degradations.current("search") is None)

    assert degradations.all() == []
    assert degradations.put(degraded(fence=1)), "a fence of something that is over blocks nobody"


def test_putting_one_that_is_over_ends_the_one_in_force(degradations: Degradations) -> None:
    degradations.put(degraded())

    assert degradations.put(degraded(seconds=-1))

    assert degradations.current("search") is None


# --- layers and ramps ---


def test_layers_of_a_service_and_of_the_system_do_not_touch_each_other(degradations: Degradations) -> None:
    layers = [("*", "manual"), ("search", "recovery"), ("search", "manual"), ("search", "rule:weak")]
    for number, (service, layer) in enumerate(layers):
        assert degradations.put(replace(degraded(service, fence=9 - number), layer=layer))

    assert [(found.service, found.layer) for found in degradations.all()] == layers
    assert degradations.clear("search", 100)
    assert degradations.end("search", 100, "manual")

    assert [(found.service, found.layer) for found in degradations.all()] == [("*", "manual"), ("search", "rule:weak")]
    assert degradations.current("search") is None
    assert degradations.current("search", "rule:weak") is not None


def test_all_that_it_says_of_its_end_and_its_author_comes_back(degradations: Degradations) -> None:
    given = replace(degraded("*"), layer="manual", ramp=(1, 50), ramp_stage=7.5, by="ann")

    degradations.put(given)

    assert degradations.current("*", "manual") == given


def test_what_ends_early_is_still_there_while_its_ramp_lasts(degradations: Degradations) -> None:
    given = replace(degraded(), ramp=(10, 50), ramp_stage=30.0)
    degradations.put(given)

    assert degradations.end("search", 1)

    found = degradations.current("search")
    assert found is not None
    assert given.since <= found.until <= utcnow()
    assert found == replace(given, until=found.until)
    assert degradations.end("search", 1), "it ends already"
    assert degradations.current("search") == found


def test_what_has_no_ramp_ends_at_once(degradations: Degradations) -> None:
    degradations.put(degraded())

    assert degradations.end("search", 1)

    assert degradations.current("search") is None
    assert not degradations.end("search", 1)


def test_the_ramp_ends_by_itself(degradations: Degradations) -> None:
    degradations.put(replace(degraded(seconds=-0.05), ramp=(10, 50), ramp_stage=0.1))
    assert degradations.current("search") is not None, "over, but not gone"

    eventually(lambda: degradations.current("search") is None)

    assert degradations.all() == []


def test_an_older_fence_ends_nothing_and_none_ends_anything(degradations: Degradations) -> None:
    newer = replace(degraded(fence=7), ramp=(10,))
    degradations.put(newer)

    assert not degradations.end("search", 6)
    assert degradations.current("search") == newer
    assert degradations.end("search", None)
    assert degradations.clear("search", None)

    assert degradations.current("search") is None


def test_an_end_that_crosses_a_newer_one_leaves_that_alone(redis_client: Redis) -> None:
    newer = degraded(fence=9)

    class Crossed(RedisDegradations):
        def _write(self, script: Any, degradation: Degradation, condition: str | int) -> bool:
            if script is self._replace:
                RedisDegradations(redis_client).put(newer)
            return super()._write(script, degradation, condition)

    degradations = Crossed(redis_client)
    degradations.put(degraded(fence=1))

    assert not degradations.end("search", 1)

    assert degradations.current("search") == newer


def test_the_key_lives_until_the_last_stage_is_over(redis_client: Redis) -> None:
    RedisDegradations(redis_client).put(replace(degraded(seconds=60), layer="manual", ramp=(10, 50), ramp_stage=30.0))

    assert redis_client.zrange(DEGRADATIONS, 0, -1) == [b"search:manual"]
    assert 110_000 < redis_client.pttl(DEGRADATION + "search:manual") <= 120_000


def test_what_an_older_version_wrote_can_be_read(redis_client: Redis) -> None:
    degradations = RedisDegradations(redis_client)
    degradations.put(degraded())
    stored = json.loads(redis_client.get(DEGRADATION + "search") or b"")
    for name in ("layer", "ramp", "ramp_stage", "by"):
        del stored[name]
    redis_client.set(DEGRADATION + "search", json.dumps(stored), px=60_000)

    found = degradations.current("search")

    assert found is not None
    assert (found.layer, found.ramp, found.ramp_stage, found.by) == ("recovery", (), 30.0, "")


# --- endpoints ---


def test_a_switched_endpoint_comes_back_unchanged(endpoints: Endpoints) -> None:
    given = backup()

    assert endpoints.current("db") is None
    assert endpoints.switch(given)

    assert endpoints.current("db") == given


def test_an_older_fence_changes_no_endpoint(endpoints: Endpoints) -> None:
    endpoints.switch(backup(fence=5))

    assert not endpoints.switch(backup(fence=4))
    assert not endpoints.clear("db", 4)
    assert endpoints.clear("db", 5)
    assert not endpoints.clear("db", 5)

    assert endpoints.current("db") is None


@pytest.mark.parametrize("change", ["put", "end", "clear", "switch", "switch back"])
def test_every_change_is_pushed(redis_client: Redis, change: str) -> None:
    degradations, endpoints = RedisDegradations(redis_client), RedisEndpoints(redis_client)
    degradations.put(degraded("x", fence=1))
    endpoints.switch(backup("x", fence=1))
    listener = redis_client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    listener.subscribe(DEGRADATION_CHANGED, ENDPOINT_CHANGED)
    acts: dict[str, Callable[[], bool]] = {
        "put": lambda: degradations.put(degraded("x", fence=2)),
        "end": lambda: degradations.end("x", 2),
        "clear": lambda: degradations.clear("x", 2),
        "switch": lambda: endpoints.switch(backup("x", fence=2)),
        "switch back": lambda: endpoints.clear("x", 2),
    }
    eventually(lambda: all(subscribers for _, subscribers in redis_client.pubsub_numsub(DEGRADATION_CHANGED, ENDPOINT_CHANGED)))

    acts[change]()

    message = eventually(lambda: listener.get_message(timeout=0.1))
    listener.close()
    assert message["data"] == b"x"


def test_the_key_expires_and_the_index_forgets_what_is_over(redis_client: Redis) -> None:
    degradations = RedisDegradations(redis_client)

    degradations.put(degraded("old", seconds=0.05))
    eventually(lambda: not redis_client.exists(DEGRADATION + "old"))
    degradations.put(degraded("new"))

    assert redis_client.zrange(DEGRADATIONS, 0, -1) == [b"new"]
    assert 50_000 < redis_client.pttl(DEGRADATION + "new") <= 60_000


def test_the_stored_value_is_plain_json_for_any_language(redis_client: Redis) -> None:
    given = degraded()
    RedisDegradations(redis_client).put(given)

    stored = json.loads(redis_client.get(DEGRADATION + "search") or b"")

    assert stored["features_off"] == ["suggestions", "facets"]
    assert stored["until"] == given.until.timestamp()


@pytest.mark.parametrize("value", ["no JSON", "[1]", '{"service": "search"}', '{"fence": "much", "until": 1e300}'])
def test_a_value_that_nobody_can_read_hides_no_other_and_can_be_replaced(redis_client: Redis, value: str) -> None:
    degradations = RedisDegradations(redis_client)
    degradations.put(degraded())
    redis_client.set(DEGRADATION + "search", value)
    degradations.put(degraded("mail"))

    assert [found.service for found in degradations.all()] == ["mail"]
    assert degradations.current("search") is None
    assert not degradations.end("search", fence=None)
    assert degradations.put(degraded(fence=1))
    assert [found.service for found in degradations.all()] == ["mail", "search"]


def test_a_value_that_nobody_can_read_can_be_cleared(redis_client: Redis) -> None:
    degradations = RedisDegradations(redis_client)
    redis_client.set(DEGRADATION + "search", "no JSON")

    assert degradations.clear("search", fence=1)
    assert not redis_client.exists(DEGRADATION + "search")


@pytest.mark.parametrize("value", ["no JSON", "[1]", '{"service": "db"}', '{"since": 0, "colour": "red"}', '{"since": 1e300}'])
def test_an_endpoint_that_nobody_can_read_is_none_and_can_be_replaced(redis_client: Redis, value: str) -> None:
    endpoints = RedisEndpoints(redis_client)
    redis_client.set(ENDPOINT + "db", value)

    with capture_logs() as logged:
        assert endpoints.current("db") is None
    assert [(each["event"], each["value"]) for each in logged] == [("endpoint.unreadable", value)]
    given = backup(fence=1)
    assert endpoints.switch(given)
    assert endpoints.current("db") == given


def test_a_connection_that_decodes_works_as_well(valkey_url: str, redis_client: Redis) -> None:
    with Redis.from_url(valkey_url, decode_responses=True) as decoding:
        degradations, endpoints = RedisDegradations(decoding), RedisEndpoints(decoding)
        degradations.put(degraded())
        endpoints.switch(backup())

        assert [found.service for found in degradations.all()] == ["search"]
        assert endpoints.current("db") is not None


def test_a_dead_redis_is_said_to_be_unavailable() -> None:
    with Redis.from_url("unix:///nowhere/redis.sock", retry=Retry(NoBackoff(), 0)) as nowhere:
        with pytest.raises(StoreUnavailable, match="Redis did not list the degradations"):
            RedisDegradations(nowhere).all()
        with pytest.raises(StoreUnavailable, match="Redis did not switch the endpoint"):
            RedisEndpoints(nowhere).switch(backup())
