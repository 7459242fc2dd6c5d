"""What processes decide together: quorum, ramp, modes and recoveries; and what it costs Redis while all is quiet."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest
from redis import Redis

from recovery.breaker import Breaker, BreakerOptions, RedisBreakers
from recovery.breaker.shared import BREAKER_HISTORY, SharedCircuits, key_of
from recovery.client import CircuitOpen, RecoveryClient
from recovery.models import BreakerOrder, BreakerState, BreakerView
from tests.support import ValkeyServer, eventually

Join = Callable[..., Breaker]


@pytest.fixture
def clients(valkey_url: str, redis_client: Redis, tmp_path: Path) -> Iterator[list[RecoveryClient]]:
    """Three processes' clients, as far as Redis can tell."""
    made = [RecoveryClient(valkey_url, spool=tmp_path / str(number)) for number in range(3)]
    yield made
    for client in made:
        client.close()


@pytest.fixture
def join(clients: list[RecoveryClient]) -> Join:
    def with_options(**options: Any) -> list[Breaker]:
        breakers = [client.breaker("gateway", **options) for client in clients]
        assert all(client.warm_up(30) for client in clients)
        eventually(lambda: all(client._link.connected for client in clients))
        return breakers

    return with_options  # type: ignore[return-value]


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(ZeroDivisionError):
            breaker.call(lambda: 1 / 0)


def passes(breaker: Breaker) -> bool:
    try:
        breaker.call(lambda: None)
    except CircuitOpen:
        return False
    return True


def view_of(client: Redis) -> BreakerView:
    view = RedisBreakers(client).view("gateway")
    assert view is not None
    return view


def test_one_sick_node_of_three_opens_nothing_for_the_others_and_two_do(join: Any, redis_client: Redis) -> None:
    one, two, three = join(quorum=2, failure_threshold=3, reset_timeout=60)

    fail(one, 3)

    assert one.state == "open"
    assert not passes(one)
    eventually(lambda: view_of(redis_client).votes == 1)
    assert view_of(redis_client).state is BreakerState.CLOSED
    assert passes(two)
    assert passes(three)

    fail(two, 3)

    eventually(lambda: three.state == "open")
    assert not passes(three)
    view = view_of(redis_client)
    assert (view.trips, view.reason.startswith("2 processes opened it, the last: 3 failures in a row")) == (1, True)


def test_a_vote_is_withdrawn_when_the_node_is_well_again(join: Any, redis_client: Redis) -> None:
    one, two, three = join(quorum=2, failure_threshold=2, reset_timeout=0.5, success_threshold=1, jitter=0.0, backoff_factor=1.0)
    fail(one, 2)
    assert one.state == "open"

    eventually(lambda: passes(one))
    assert one.state == "closed"
    eventually(lambda: view_of(redis_client).votes == 0)
    fail(two, 2)

    assert two.state == "open"
    eventually(lambda: view_of(redis_client).votes == 1)
    assert three.state == "closed"


def test_two_nodes_that_fail_in_turn_open_it_for_all(join: Any, redis_client: Redis) -> None:
    one, two, three = join(quorum=2, failure_threshold=2, reset_timeout=0.3, success_threshold=2, jitter=0.0, backoff_factor=1.0)
    fail(one, 2)
    eventually(lambda: passes(one), message="its first probe is good, its second is still to come")
    assert one.state == "half_open"

    fail(two, 2)

    eventually(lambda: view_of(redis_client).trips == 1, message="both have it open: none has closed it again")
    eventually(lambda: three.state == "open")


def test_the_vote_of_a_node_that_is_not_well_again_is_renewed_and_that_of_a_dead_one_passes(
    join: Any, redis_client: Redis, clients: list[RecoveryClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recovery.breaker.dealings.VOTE", 2.5)
    one, *_ = join(quorum=2, failure_threshold=2, reset_timeout=600)
    fail(one, 2)
    eventually(lambda: view_of(redis_client).votes == 1)
    ((process, until),) = cast("list[tuple[bytes, float]]", redis_client.zrange(f"{key_of('gateway')}:votes", 0, -1, withscores=True))

    eventually(lambda: (redis_client.zscore(f"{key_of('gateway')}:votes", process) or 0) > until + 2_500, message="it is renewed")
    clients[0].close()

    eventually(lambda: view_of(redis_client).votes == 0)


def test_rates_are_taken_of_the_calls_of_all_processes(join: Any, redis_client: Redis) -> None:
    one, two, three = join(failure_threshold=None, failure_rate=0.5, minimum_requests=10, window_calls=20)
    for _ in range(10):
        assert passes(two)
    eventually(lambda: view_of(redis_client).calls == 10, message="successes come as a summary")

    fail(one, 9)
    eventually(lambda: view_of(redis_client).failures == 9)
    assert view_of(redis_client).state is BreakerState.CLOSED, "9 of 19"
    fail(three, 1)

    eventually(lambda: one.state == two.state == three.state == "open")
    assert view_of(redis_client).reason == "10 of 20 calls failed, at last ZeroDivisionError: division by zero"


def test_a_ramp_is_seen_alike_by_all_and_ends_by_itself(join: Any, redis_client: Redis) -> None:
    one, two, three = join(failure_threshold=1, success_threshold=1, ramp=(50,), ramp_stage=4.0)
    fail(one)
    eventually(lambda: three.state == "open")
    board = RedisBreakers(redis_client)
    board.half_open("gateway")
    board.record("gateway", ok=True)
    eventually(lambda: all(each.circuit.stage == 1 for each in (one, two, three)))
    untils = [each.circuit.stage_until or 0.0 for each in (one, two, three)]
    assert max(untils) - min(untils) < 1.0, "the processes' clocks are one here"

    shares = [sum(passes(breaker) for _ in range(400)) / 400 for breaker in (one, two, three)]
    if all(each.circuit.stage == 1 for each in (one, two, three)):  # a machine that needed longer for this says nothing
        assert all(0.35 < share < 0.65 for share in shares), shares

    eventually(lambda: one.state == two.state == three.state == "closed")
    eventually(lambda: view_of(redis_client).state is BreakerState.CLOSED)


def test_a_failing_ramp_opens_again_for_all(join: Any, redis_client: Redis) -> None:
    one, two, _ = join(failure_threshold=1, success_threshold=1, ramp=(99,), ramp_stage=600.0)
    fail(one)
    board = RedisBreakers(redis_client)
    eventually(lambda: view_of(redis_client).state is BreakerState.OPEN)
    board.half_open("gateway")
    board.record("gateway", ok=True)
    eventually(lambda: two.circuit.stage == 1)

    def fails() -> bool:
        try:
            two.call(lambda: 1 / 0)
        except ZeroDivisionError:
            return True
        except CircuitOpen:  # one of a hundred
            return False
        return False

    eventually(fails)
    eventually(lambda: (view_of(redis_client).streak, view_of(redis_client).trips) == (2, 2))
    eventually(lambda: one.state == "open")


def test_an_operators_orders_reach_every_process(join: Any, redis_client: Redis) -> None:
    one, two, _ = join(failure_threshold=1)
    board = RedisBreakers(redis_client)

    one.force_open()
    eventually(lambda: two.state == "forced_open")
    assert not passes(two)

    board.operate("gateway", BreakerOrder.METRICS_ONLY, "ann", "look")
    eventually(lambda: two.state == one.state == "metrics_only")
    fail(two, 3)
    eventually(lambda: view_of(redis_client).failures == 3)
    assert passes(two)

    two.disable()
    eventually(lambda: one.state == "disabled")
    board.operate("gateway", BreakerOrder.AUTO, "ann", "over")
    eventually(lambda: one.state == two.state == "closed")


def test_an_order_ends_by_itself_in_every_process_and_in_redis_though_nobody_asks(join: Any, redis_client: Redis) -> None:
    breakers = join(failure_threshold=1)
    board = RedisBreakers(redis_client)
    board.operate("gateway", BreakerOrder.FORCED_OPEN, "quarantine of web", "it does harm", 600, give_way=True)
    eventually(lambda: all(breaker.state == "forced_open" for breaker in breakers))

    board.operate("gateway", BreakerOrder.FORCED_OPEN, "quarantine of web", "it does harm", 0.5, give_way=True)

    eventually(lambda: all(breaker.state == "closed" for breaker in breakers))
    assert all(passes(breaker) for breaker in breakers)
    eventually(lambda: redis_client.hget(key_of("gateway"), "mode") == b"auto")


def test_callers_do_not_probe_while_a_recovery_is_at_work(join: Any, redis_client: Redis) -> None:
    one, two, _ = join(failure_threshold=1, reset_timeout=0.2, jitter=0.0, success_threshold=1)
    fail(one)
    eventually(lambda: view_of(redis_client).state is BreakerState.OPEN)
    board = RedisBreakers(redis_client)

    assert board.repair(["gateway"], 60) == ["gateway"]
    eventually(lambda: one.state == two.state == "repairing")
    with pytest.raises(CircuitOpen) as refused:
        two.call(lambda: None)
    assert refused.value.retry_after > 20
    assert refused.value.state == "repairing"

    board.repair([], 60)
    eventually(lambda: passes(two))
    eventually(lambda: one.state == "closed")


def test_an_answer_that_comes_after_news_of_a_later_change_does_not_undo_it(
    join: Any, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, *_ = join(failure_threshold=1, reset_timeout=600)
    tell, later, answered = SharedCircuits.tell, Event(), Event()

    def answer_late(self: SharedCircuits, name: str, options: BreakerOptions, calls: Any) -> Any:
        answer = tell(self, name, options, calls)
        later.wait(30)
        answered.set()
        return answer

    monkeypatch.setattr(SharedCircuits, "tell", answer_late)
    fail(one)
    eventually(lambda: view_of(redis_client).state is BreakerState.OPEN)
    RedisBreakers(redis_client).operate("gateway", BreakerOrder.RESET, "ann", "mended")
    eventually(lambda: one._fleet._reached.linked["gateway"].heard.circuit.state == "closed")

    later.set()

    assert answered.wait(30)
    eventually(lambda: one.state == "closed")


def test_a_redis_that_forgot_its_scripts_goes_on_counting(join: Any, redis_client: Redis) -> None:
    one, two, _ = join(failure_threshold=2)
    fail(one)
    eventually(lambda: view_of(redis_client).in_a_row == 1)
    redis_client.script_flush()

    fail(two)

    eventually(lambda: one.state == "open")


@pytest.fixture
def alone(short_dir: Path) -> Iterator[ValkeyServer]:
    """A Valkey that nobody else sends commands to."""
    server = ValkeyServer(short_dir)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def quiet(alone: ValkeyServer, tmp_path: Path) -> Iterator[Callable[..., list[Breaker]]]:
    """Two processes' breakers whose clients never look at everything by themselves, which is no part of a call."""
    made = [RecoveryClient(alone.url, spool=tmp_path / str(number)) for number in range(2)]

    def with_options(**options: Any) -> list[Breaker]:
        for client in made:
            client._watch._poll = 3_600.0
        breakers = [client.breaker("gateway", **options) for client in made]
        eventually(lambda: all(client._link.connected for client in made))
        return breakers

    yield with_options
    for client in made:
        client.close()


def commands(client: Redis) -> int:
    found: Any = client.info("commandstats")
    return sum(each["calls"] for name, each in found.items() if name != "cmdstat_info")


def settled(client: Redis) -> int:
    """Return the number of commands once none came for a second."""
    seen = [commands(client)]

    def is_still() -> bool:
        seen.append(commands(client))
        return seen[-1] == seen[-2]

    eventually(is_still, every=1.0)
    return seen[-1]


def test_quiet_calls_cost_redis_nothing(quiet: Callable[..., list[Breaker]], alone: ValkeyServer) -> None:
    one, two = quiet(failure_threshold=1)
    with Redis.from_url(alone.url) as redis:
        before = settled(redis)
        for _ in range(5_000):
            one.call(abs, 1)
        assert settled(redis) == before, "closed"

        fail(one)
        eventually(lambda: two.state == "open")
        eventually(lambda: redis.xlen("recovery:reports"), message="the opening is reported")
        before = settled(redis)
        for _ in range(5_000):
            with pytest.raises(CircuitOpen):
                two.call(abs, 1)
        assert settled(redis) == before, "open"


def test_with_rates_successes_cost_redis_one_summary_a_second(quiet: Callable[..., list[Breaker]], alone: ValkeyServer) -> None:
    one, _ = quiet(failure_rate=0.5)
    with Redis.from_url(alone.url) as redis:
        before, began, calls = commands(redis), time.monotonic(), 0
        while time.monotonic() - began < 2.5:
            one.call(abs, 1)
            calls += 1
        told = commands(redis) - before
        rounds = time.monotonic() - began + 2

    assert 0 < told < 20 * rounds, "a summary is one script, and its commands are counted, too"
    assert calls > 50 * told


def test_the_history_names_the_process_that_opened_it(join: Any, clients: list[RecoveryClient], redis_client: Redis) -> None:
    one, _, _ = join(failure_threshold=1)
    fail(one)

    entries: Any = eventually(lambda: redis_client.xrange(BREAKER_HISTORY))
    assert [fields[b"by"].decode() for _, fields in entries] == [clients[0]._link.process]
