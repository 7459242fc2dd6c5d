"""Two clients of one fleet share their breakers, learn of changes by push, and go on alone while Redis is away."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from redis import Redis

from recovery.breaker import Breaker, BreakerOptions, RedisBreakers
from recovery.breaker.circuit import opens_for
from recovery.breaker.fleet import Ended
from recovery.breaker.link import FleetLink
from recovery.breaker.shared import BREAKER_CHANGED, BREAKER_HISTORY, key_of
from recovery.client import CircuitOpen, RecoveryClient
from recovery.degrade.keys import DEGRADATIONS
from recovery.errors import ConfigurationError
from recovery.models import BreakerOrder, BreakerState, Failure
from tests.support import ValkeyServer, eventually

Entries = list[tuple[bytes, dict[bytes, bytes]]]


@pytest.fixture
def server(short_dir: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(short_dir)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def here(valkey_url: str, redis_client: Redis, tmp_path: Path) -> Iterator[RecoveryClient]:
    with RecoveryClient(valkey_url, spool=tmp_path / "here") as client:
        yield client


@pytest.fixture
def there(valkey_url: str, redis_client: Redis, tmp_path: Path) -> Iterator[RecoveryClient]:
    with RecoveryClient(valkey_url, spool=tmp_path / "there") as client:
        yield client


def gateway(client: RecoveryClient, reset_timeout: float = 60.0) -> Breaker:
    breaker = client.breaker("gateway", failure_threshold=3, reset_timeout=reset_timeout, half_open_requests=1, service="payments")
    assert client.warm_up(30)
    return breaker


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(ZeroDivisionError):
            breaker.call(lambda: 1 / 0)


def time_to_probe(breaker: Breaker) -> bool:
    circuit = breaker.circuit
    return circuit.state != "open" or opens_for(circuit, breaker.clock()) == 0


def succeed(breaker: Breaker) -> bool:
    try:
        breaker.call(lambda: None)
    except CircuitOpen:
        return False
    return True


def test_an_opening_here_refuses_calls_there(here: RecoveryClient, there: RecoveryClient) -> None:
    there._watch._poll = 3_600.0  # only a push can tell in time
    mine, theirs = gateway(here), gateway(there)

    fail(mine, 3)

    eventually(lambda: theirs.state == "open")
    with pytest.raises(CircuitOpen) as refused:
        theirs.call(lambda: None)
    assert 20 < refused.value.retry_after <= 66


def test_failures_add_up_over_the_fleet(here: RecoveryClient, there: RecoveryClient, redis_client: Redis) -> None:
    mine, theirs = gateway(here), gateway(there)
    board = RedisBreakers(redis_client)

    fail(mine, 2)
    eventually(lambda: (view := board.view("gateway")) is not None and view.in_a_row == 2)
    fail(theirs, 1)

    eventually(lambda: mine.state == "open")


def test_a_success_ends_the_run_of_failures_everywhere(here: RecoveryClient, redis_client: Redis) -> None:
    mine, board = gateway(here), RedisBreakers(redis_client)
    fail(mine, 2)

    mine.call(lambda: None)

    eventually(lambda: (view := board.view("gateway")) is not None and view.in_a_row == 0)
    fail(mine, 2)
    assert mine.state == "closed"


def test_opening_reports_a_failure_of_the_service_once(here: RecoveryClient, there: RecoveryClient, redis_client: Redis) -> None:
    mine, theirs = gateway(here), gateway(there)

    fail(mine, 3)
    eventually(lambda: theirs.state == "open" and here.stats().sent == 1)

    (entry,) = cast("Entries", redis_client.xrange("recovery:reports"))
    failure = Failure.model_validate_json(entry[1][b"failure"])
    assert (failure.service, failure.category) == ("payments", "circuit_open")
    assert failure.message == "circuit 'gateway' opened: 3 failures in a row, at last ZeroDivisionError: division by zero"
    assert there.stats().sent == 0


def test_probes_of_a_recovery_close_it_for_everybody(here: RecoveryClient, there: RecoveryClient, redis_client: Redis) -> None:
    mine, theirs, board = gateway(here), gateway(there), RedisBreakers(redis_client)
    fail(mine, 3)
    eventually(lambda: theirs.state == "open")

    board.half_open("gateway")
    eventually(lambda: mine.state == theirs.state == "half_open")
    board.record("gateway", ok=True)
    board.record("gateway", ok=True)

    eventually(lambda: mine.state == theirs.state == "closed")
    assert succeed(mine)


def test_callers_probe_after_the_reset_timeout_within_the_fleets_permits(here: RecoveryClient, there: RecoveryClient) -> None:
    mine, theirs = gateway(here, reset_timeout=0.1), gateway(there, reset_timeout=0.1)
    fail(mine, 3)
    eventually(lambda: theirs.state == "open")
    eventually(lambda: time_to_probe(mine))

    with mine:
        with pytest.raises(CircuitOpen):
            theirs.call(lambda: None)
        assert mine.state == "half_open"

    eventually(lambda: succeed(theirs))
    eventually(lambda: mine.state == theirs.state == "closed")


async def test_asyncio_callers_probe_without_blocking_the_loop(here: RecoveryClient) -> None:
    mine = gateway(here, reset_timeout=0.05)

    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    fail(mine, 3)

    async def probe() -> str:
        while True:
            try:
                return await mine.acall(work)
            except CircuitOpen as refused:
                await asyncio.sleep(refused.retry_after)

    assert await asyncio.wait_for(probe(), 30) == "done"
    assert await asyncio.wait_for(probe(), 30) == "done"
    eventually(lambda: mine.state == "closed")


def test_a_process_that_comes_later_learns_that_it_is_open(here: RecoveryClient, there: RecoveryClient, redis_client: Redis) -> None:
    fail(gateway(here), 3)
    eventually(lambda: (view := RedisBreakers(redis_client).view("gateway")) is not None and view.state is BreakerState.OPEN)

    assert gateway(there).state == "open"


def test_a_breaker_that_is_made_later_learns_at_once_how_it_stands(here: RecoveryClient, redis_client: Redis) -> None:
    here._watch._poll = 3_600.0  # no look will tell it
    first = gateway(here)
    eventually(lambda: here._link.connected)
    RedisBreakers(redis_client).operate("late", BreakerOrder.FORCED_OPEN, by="ops", reason="it is down")
    RedisBreakers(redis_client).operate("gateway", BreakerOrder.DISABLED, by="ops", reason="to know when the pushes have been heard")
    eventually(lambda: first.state == "disabled")

    late = here.breaker("late")

    eventually(lambda: late.state == "forced_open")


def test_what_is_no_news_on_the_channel_is_left_out(here: RecoveryClient, redis_client: Redis, caplog: pytest.LogCaptureFixture) -> None:
    mine = gateway(here)
    eventually(lambda: here._link.connected)
    for garbage in ("no JSON", "[]", "{}", '{"name": "gateway"}'):
        redis_client.publish(BREAKER_CHANGED, garbage)

    RedisBreakers(redis_client).operate("gateway", BreakerOrder.FORCED_OPEN, by="ops", reason="it is down")

    eventually(lambda: mine.state == "forced_open")
    assert "left out what is no news of a breaker: b'no JSON'" in caplog.text
    assert "Redis does not answer" not in caplog.text


def test_something_foreign_under_the_key_of_a_breaker_costs_that_breaker_alone(
    here: RecoveryClient, there: RecoveryClient, redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    there._watch._poll = 0.1
    mine, theirs = gateway(here), gateway(there)
    spoiled = there.breaker("spoiled", failure_threshold=None, failure_rate=0.5, minimum_requests=4)
    eventually(lambda: RedisBreakers(redis_client).view("spoiled") is not None)
    redis_client.delete(key_of("spoiled"))
    redis_client.set(key_of("spoiled"), "no breaker")
    eventually(lambda: not there._link.hears(spoiled))

    fail(spoiled, 4)
    fail(mine, 3)

    assert not succeed(spoiled), "it judges by itself"
    eventually(lambda: theirs.state == "open")
    assert there._link.connected
    assert there.flags.freshness == "fresh"
    assert [view.name for view in RedisBreakers(redis_client).views()] == ["gateway"], "the platform sees the others"
    assert RedisBreakers(redis_client).repair(["payments"], 5.0) == ["gateway"]
    assert caplog.text.count("breaker 'spoiled' goes on alone") == 1
    assert "Redis does not answer" not in caplog.text
    redis_client.delete(key_of("spoiled"))
    eventually(lambda: (view := RedisBreakers(redis_client).view("spoiled")) is not None and view.state is BreakerState.OPEN)
    eventually(lambda: there._link.hears(spoiled))


def test_something_foreign_under_the_keys_of_degradations_costs_no_breaker(
    here: RecoveryClient, redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    here._watch._poll = 0.1
    mine = gateway(here)
    eventually(lambda: here.flags.freshness == "fresh")

    redis_client.set(DEGRADATIONS, "no degradations")
    eventually(lambda: here.flags.freshness == "stale")
    RedisBreakers(redis_client).operate("gateway", BreakerOrder.FORCED_OPEN, by="ops", reason="it is down")

    eventually(lambda: mine.state == "forced_open")
    assert here._link.connected
    assert caplog.text.count("LocalView goes on with what it knew") == 1
    redis_client.delete(DEGRADATIONS)
    eventually(lambda: here.flags.freshness == "fresh")


def test_a_closing_that_came_while_something_was_still_to_be_told_is_taken_in_by_the_next_look(redis_client: Redis) -> None:
    link, board = FleetLink(lambda _breaker, _reason: None), RedisBreakers(redis_client)
    mine = Breaker("gateway", BreakerOptions(failure_threshold=1, reset_timeout=600.0), link)
    link.add(mine)
    link.load(redis_client)
    fail(mine)
    eventually(lambda: (view := board.view("gateway")) is not None and view.state is BreakerState.OPEN)
    eventually(lambda: not mine._unanswered)
    mine._unanswered += 1  # a success that is on its way
    board.operate("gateway", BreakerOrder.RESET, by="ann", reason="mended")
    link.load(redis_client)
    assert not succeed(mine)

    mine.answered(Ended("ok"), None)  # Redis did not hear it
    link.load(redis_client)

    assert mine.state == "closed"
    link.close(5.0)


def test_the_end_of_a_client_comes_after_what_its_breakers_have_to_tell(
    valkey_url: str, redis_client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recovery.client.client.LAST_WAIT", 60.0)  # a slow machine may take longer than a service would wait
    client = RecoveryClient(valkey_url, spool=tmp_path)
    breakers = [client.breaker(f"last{number}", failure_threshold=1) for number in range(40)]
    assert client.warm_up(30)
    eventually(lambda: client._link.connected)
    for breaker in breakers:
        fail(breaker)

    client.close()

    assert {redis_client.hget(key_of(breaker.name), "state") for breaker in breakers} == {b"open"}
    reported = b" ".join(text for _, fields in cast("Entries", redis_client.xrange("recovery:reports")) for text in fields.values())
    assert all(f'"{breaker.name}"'.encode() in reported for breaker in breakers)


def test_after_the_end_of_the_client_breakers_go_on_alone_and_keep_nothing(here: RecoveryClient) -> None:
    mine = here.breaker("gateway", failure_threshold=None, failure_rate=0.5)
    assert here.warm_up(30)
    eventually(lambda: here._link.connected)
    here.close()

    fail(mine, 20)

    assert not succeed(mine), "it judges by itself"
    assert here._link._teller._told.empty()


def test_every_breaker_is_known_to_the_platform_before_anything_fails(here: RecoveryClient, redis_client: Redis) -> None:
    gateway(here)
    here.breaker("second")

    eventually(lambda: [view.name for view in RedisBreakers(redis_client).views()] == ["gateway", "second"])


def test_one_name_has_one_set_of_options(here: RecoveryClient) -> None:
    mine = here.breaker("gateway", failure_threshold=3)

    assert here.breaker("gateway") is mine
    assert here.breaker("gateway", failure_threshold=3) is mine
    with pytest.raises(ConfigurationError, match="Breaker 'gateway' is in use with other options"):
        here.breaker("gateway", failure_threshold=4)
    with pytest.raises(ConfigurationError, match="did you mean 'reset_timeout'"):
        here.breaker("other", reset_time=4)  # type: ignore[call-arg]


# --- while Redis is away ------------------------------------------------------------------------------------------------


def test_breaking_goes_on_alone_and_merges_when_redis_is_back(
    server: ValkeyServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RecoveryClient(server.url, spool=tmp_path) as client:
        mine = gateway(client)
        server.kill()

        fail(mine, 3)
        assert mine.state == "open"
        eventually(lambda: client.stats().spooled == 1, message="the opening is reported when Redis can be reached again")

        server.start()
        with Redis.from_url(server.url) as redis:
            board = RedisBreakers(redis)
            eventually(lambda: (view := board.view("gateway")) is not None and view.state is BreakerState.OPEN)
        assert mine.state == "open"
    assert caplog.text.count("breakers go on with what this process sees alone") == 1
    assert caplog.text.count("breakers are shared with the fleet again") == 1


def test_failures_counted_alone_arrive_when_redis_is_back(server: ValkeyServer, tmp_path: Path) -> None:
    with RecoveryClient(server.url, spool=tmp_path) as client:
        mine = gateway(client)
        server.kill()
        eventually(lambda: not client._link.connected)
        fail(mine, 2)
        assert mine.state == "closed"

        server.start()
        with Redis.from_url(server.url) as redis:
            board = RedisBreakers(redis)
            eventually(lambda: (view := board.view("gateway")) is not None and view.in_a_row == 2)
            fail(mine)
            eventually(lambda: (view := board.view("gateway")) is not None and view.state is BreakerState.OPEN)


def test_an_empty_redis_learns_from_whoever_knew_it_open(server: ValkeyServer, tmp_path: Path) -> None:
    with RecoveryClient(server.url, spool=tmp_path / "here") as here, RecoveryClient(server.url, spool=tmp_path / "there") as there:
        mine, theirs = gateway(here), gateway(there)
        fail(mine, 3)
        eventually(lambda: theirs.state == "open")
        server.kill()
        server.start()

        with Redis.from_url(server.url) as redis:
            board = RedisBreakers(redis)
            eventually(lambda: (view := board.view("gateway")) is not None and view.state is BreakerState.OPEN and view.trips == 1)
            eventually(lambda: here._link.connected and there._link.connected)
            assert redis.xlen(BREAKER_HISTORY) == 0, "it is no new opening"
        assert (mine.state, theirs.state) == ("open", "open")


def test_failures_that_the_fleet_knows_are_not_counted_twice_after_an_outage(server: ValkeyServer, tmp_path: Path) -> None:
    with RecoveryClient(server.url, spool=tmp_path) as client, Redis.from_url(server.url) as redis:
        mine, board = gateway(client), RedisBreakers(redis)
        fail(mine, 2)
        eventually(lambda: (view := board.view("gateway")) is not None and view.in_a_row == 2)

        client._link.away(ConnectionError())
        eventually(lambda: client._link.connected)

        assert (view := board.view("gateway")) is not None
        assert (view.state, view.failures) == (BreakerState.CLOSED, 2)


def test_a_redis_that_hangs_delays_at_most_one_probe_and_that_for_less_than_a_second(server: ValkeyServer, tmp_path: Path) -> None:
    with RecoveryClient(server.url, spool=tmp_path) as client:
        mine = gateway(client, reset_timeout=0.05)
        fail(mine, 3)
        eventually(lambda: client.stats().sent == 1)
        server.signal(signal.SIGSTOP)
        try:
            took = []
            for _ in range(5):
                eventually(lambda: time_to_probe(mine))
                began = time.monotonic()
                with pytest.raises((ZeroDivisionError, CircuitOpen)):
                    mine.call(lambda: 1 / 0)
                took.append(time.monotonic() - began)
        finally:
            server.signal(signal.SIGCONT)

    assert max(took) <= 2.0, took  # less than one, and what a busy machine adds
    assert sum(seconds > 0.35 for seconds in took) <= 1, took
