"""Breakers keep the same promises in memory and in Redis."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recovery.breaker import BreakerOptions, MemoryBreakers, RedisBreakers
from recovery.breaker.circuit import Admission, Circuit, Result, State, admit, record
from recovery.breaker.shared import BREAKER, BREAKER_CHANGED, SharedCircuits
from recovery.errors import StoreUnavailable
from recovery.models import BreakerState
from recovery.ports import Breakers
from tests.support import eventually


@pytest.fixture(params=["memory", "redis"])
def breakers(request: pytest.FixtureRequest) -> Breakers:
    return MemoryBreakers() if request.param == "memory" else RedisBreakers(request.getfixturevalue("redis_client"))


def open_one(breakers: Breakers, name: str = "gateway") -> None:
    for _ in range(5):
        breakers.record(name, ok=False)


def test_a_breaker_that_nobody_used_is_unknown(breakers: Breakers) -> None:
    assert breakers.view("gateway") is None
    assert breakers.views() == []
    assert breakers.half_open("gateway").state is BreakerState.CLOSED
    assert breakers.view("gateway") is None


def test_the_fifth_failure_in_a_row_opens_it(breakers: Breakers) -> None:
    for count in range(1, 5):
        view = breakers.record("gateway", ok=False)
        assert (view.state, view.failures) == (BreakerState.CLOSED, count)

    view = breakers.record("gateway", ok=False)

    assert (view.state, view.failures, view.trips) == (BreakerState.OPEN, 5, 1)
    assert view.opened_at is not None
    assert view.retry_at == view.opened_at + timedelta(seconds=60)
    assert view.reason == "a probe failed"


def test_a_success_in_between_starts_the_count_again(breakers: Breakers) -> None:
    for ok in (False, False, False, False, True, False, False, False, False):
        view = breakers.record("gateway", ok=ok)

    assert (view.state, view.failures) == (BreakerState.CLOSED, 4)


def test_results_change_nothing_while_open(breakers: Breakers) -> None:
    open_one(breakers)
    before = breakers.view("gateway")

    breakers.record("gateway", ok=True)
    breakers.record("gateway", ok=False)

    assert breakers.view("gateway") == before


def test_half_open_lets_enough_successes_close_it(breakers: Breakers) -> None:
    open_one(breakers)

    assert breakers.half_open("gateway").state is BreakerState.HALF_OPEN
    first = breakers.record("gateway", ok=True)
    assert (first.state, first.successes) == (BreakerState.HALF_OPEN, 1)
    closed = breakers.record("gateway", ok=True)

    assert (closed.state, closed.failures, closed.successes, closed.trips) == (BreakerState.CLOSED, 0, 0, 1)
    assert (closed.opened_at, closed.retry_at, closed.reason) == (None, None, "")


def test_a_failure_in_half_open_opens_it_again(breakers: Breakers) -> None:
    open_one(breakers)
    breakers.half_open("gateway")
    breakers.record("gateway", ok=True)

    view = breakers.record("gateway", ok=False)

    assert (view.state, view.trips, view.successes) == (BreakerState.OPEN, 2, 0)


def test_a_closed_breaker_stays_closed_when_asked_to_half_open(breakers: Breakers) -> None:
    breakers.record("gateway", ok=False)

    view = breakers.half_open("gateway")

    assert (view.state, view.failures) == (BreakerState.CLOSED, 1)


def test_views_are_sorted_by_name(breakers: Breakers) -> None:
    breakers.record("web", ok=True)
    breakers.record("api", ok=False)

    assert [view.name for view in breakers.views()] == ["api", "web"]


# --- what callers use: permits and options, over the pure machine and Redis ---------------------------------------------


OPTIONS = BreakerOptions(failure_threshold=2, success_threshold=2, reset_timeout=0.05, half_open_requests=2, permit_timeout=60)


class Twin(Protocol):
    """A caller's verbs on one breaker; both return the state afterwards."""

    options: BreakerOptions

    def admit(self, permit: str) -> tuple[Admission, State]: ...
    def record(self, result: Result, permit: str = "", count: int = 1) -> State: ...


class PureTwin:
    def __init__(self) -> None:
        self.options = OPTIONS
        self.circuit = Circuit()

    def admit(self, permit: str) -> tuple[Admission, State]:
        self.circuit, admission = admit(self.circuit, self.options, time.monotonic(), permit)
        return admission, self.circuit.state

    def record(self, result: Result, permit: str = "", count: int = 1) -> State:
        self.circuit = record(self.circuit, self.options, time.monotonic(), result, permit=permit, count=count, reason="boom")
        return self.circuit.state


class RedisTwin:
    def __init__(self, redis: Redis) -> None:
        self.options = OPTIONS
        self.shared = SharedCircuits(redis)

    def admit(self, permit: str) -> tuple[Admission, State]:
        snapshot, admission = self.shared.admit("gateway", self.options, permit)
        return admission, snapshot.state

    def record(self, result: Result, permit: str = "", count: int = 1) -> State:
        return self.shared.record("gateway", self.options, result, permit=permit, count=count, reason="boom")[0].state


@pytest.fixture(params=["pure", "redis"])
def twin(request: pytest.FixtureRequest) -> Twin:
    return PureTwin() if request.param == "pure" else RedisTwin(request.getfixturevalue("redis_client"))


def half_open(twin: Twin, *permits: str) -> None:
    """Open it, wait for the reset timeout, and take these permits."""
    twin.record("failed", count=2)
    eventually(lambda: twin.admit(permits[0])[0].allowed)
    for permit in permits[1:]:
        assert twin.admit(permit)[0].allowed


def test_closed_admits_without_a_permit(twin: Twin) -> None:
    assert twin.admit("a") == (Admission(allowed=True), "closed")


def test_several_failures_may_be_counted_at_once(twin: Twin) -> None:
    assert twin.record("failed", count=2) == "open"


def test_open_says_how_long_to_wait(twin: Twin) -> None:
    twin.options = replace(OPTIONS, reset_timeout=60)
    twin.record("failed", count=2)

    admission, state = twin.admit("a")

    assert state == "open"
    assert not admission.allowed
    assert 30 < admission.retry_after <= 60


def test_half_open_hands_out_only_so_many_permits(twin: Twin) -> None:
    half_open(twin, "a", "b")

    admission, state = twin.admit("c")

    assert state == "half_open"
    assert not admission.allowed
    assert 30 < admission.retry_after <= 60


def test_a_permit_that_came_back_is_free_again(twin: Twin) -> None:
    half_open(twin, "a", "b")

    assert twin.record("void", "a") == "half_open"

    assert twin.admit("c")[0] == Admission(allowed=True, permit="c")


def test_a_leaked_permit_expires(twin: Twin) -> None:
    twin.options = replace(OPTIONS, permit_timeout=0.4)
    half_open(twin, "a", "b")

    eventually(lambda: twin.admit("c")[0].allowed)


def test_successful_probes_close_it(twin: Twin) -> None:
    half_open(twin, "a", "b")

    assert twin.record("ok", "a") == "half_open"
    assert twin.record("ok", "b") == "closed"
    assert twin.admit("c") == (Admission(allowed=True), "closed")


def test_a_failed_probe_opens_it_and_takes_all_permits_away(twin: Twin) -> None:
    half_open(twin, "a", "b")

    assert twin.record("failed", "a") == "open"
    eventually(lambda: twin.admit("x")[0].allowed)

    assert twin.record("ok", "b") == "half_open"
    assert twin.record("ok", "b") == "half_open", "a permit of the time before counts for nothing"


@pytest.mark.parametrize("result", ["ok", "failed"])
def test_a_call_from_before_the_opening_says_nothing_in_half_open(twin: Twin, result: Result) -> None:
    half_open(twin, "a")

    assert twin.record(result) == "half_open"
    assert twin.record(result) == "half_open"


def test_an_ignored_failure_is_no_success_either(twin: Twin) -> None:
    twin.record("failed")
    twin.record("void")

    assert twin.record("failed") == "open"


# --- only Redis ---------------------------------------------------------------------------------------------------------


def test_probes_use_the_thresholds_that_the_callers_gave(redis_client: Redis) -> None:
    SharedCircuits(redis_client).declare("gateway", OPTIONS)
    breakers = RedisBreakers(redis_client)

    breakers.record("gateway", ok=False)

    assert breakers.record("gateway", ok=False).state is BreakerState.OPEN


def test_every_change_of_state_is_pushed_with_the_state(redis_client: Redis) -> None:
    listener = redis_client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    listener.subscribe(BREAKER_CHANGED)
    eventually(lambda: redis_client.pubsub_numsub(BREAKER_CHANGED)[0][1])
    shared, breakers = SharedCircuits(redis_client), RedisBreakers(redis_client)

    shared.record("gateway", BreakerOptions(failure_threshold=1), "failed", reason="boom")
    breakers.half_open("gateway")
    shared.record("gateway", None, "ok", permit="probe")
    shared.record("gateway", None, "ok", permit="probe")

    messages = [json.loads(eventually(lambda: listener.get_message(timeout=0.1))["data"]) for _ in range(3)]
    listener.close()
    assert [message["state"] for message in messages] == ["open", "half_open", "closed"]
    assert [message["retry_in"] for message in messages] == [60_000, 0, 0]
    assert [message["version"] for message in messages] == sorted(message["version"] for message in messages)


def test_the_version_rises_even_when_redis_lost_its_data(redis_client: Redis) -> None:
    shared = SharedCircuits(redis_client)
    before, _ = shared.record("gateway", OPTIONS, "failed")
    redis_client.flushdb()

    after, _ = shared.record("gateway", OPTIONS, "failed")

    assert after.version > before.version
    assert after.failures == 1


def test_only_the_call_that_opened_it_is_told_so(redis_client: Redis) -> None:
    shared = SharedCircuits(redis_client)

    told = [shared.record("gateway", OPTIONS, "failed")[1] for _ in range(4)]

    assert told == [False, True, False, False]


def test_no_name_breaks_the_announcement(redis_client: Redis) -> None:
    snapshot, opened = SharedCircuits(redis_client).record("a.b-c_D", OPTIONS, "failed", count=9, reason='quoted "and" \\ \n odd')

    assert opened
    assert snapshot.reason == 'quoted "and" \\ \n odd'
    assert redis_client.hget(BREAKER + "a.b-c_D", "state") == b"open"


def test_a_dead_redis_is_said_to_be_unavailable() -> None:
    with Redis.from_url("unix:///nowhere/redis.sock", retry=Retry(NoBackoff(), 0)) as nowhere:
        breakers = RedisBreakers(nowhere)
        calls: list[Callable[[], object]] = [
            lambda: breakers.view("x"),
            breakers.views,
            lambda: breakers.half_open("x"),
            lambda: breakers.record("x", ok=True),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable, match="Redis did not"):
                call()
