"""Cooldown locks keep their contract in memory and in a real Valkey."""

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest
import redis

from recovery.errors import ConfigurationError, StoreUnavailable
from recovery.ports import Cooldowns
from recovery.store.connect import connect
from recovery.store.cooldowns import RedisCooldowns, cooldown_key
from recovery.store.heartbeats import RedisHeartbeats
from recovery.store.memory import MemoryCooldowns
from tests.support import ValkeyServer, eventually


@dataclass
class Bench:
    """One kind of cooldowns, and how its time passes."""

    cooldowns: Cooldowns
    expire: Callable[[str, str], None]
    """Let the lock of (service, strategy) run out."""


@pytest.fixture(params=["memory", "valkey"])
def bench(request: pytest.FixtureRequest) -> Bench:
    if request.param == "memory":
        moment = [datetime(2026, 1, 1, tzinfo=UTC)]

        def pass_time(_service: str, _strategy: str) -> None:
            moment[0] += timedelta(days=1)

        return Bench(MemoryCooldowns(lambda: moment[0]), pass_time)
    client: redis.Redis = request.getfixturevalue("redis_client")

    def expire(service: str, strategy: str) -> None:
        client.pexpire(cooldown_key(service, strategy), 1)
        eventually(lambda: not client.exists(cooldown_key(service, strategy)))

    return Bench(RedisCooldowns(client), expire)


def test_a_lock_keeps_others_off_but_knows_its_holder(bench: Bench) -> None:
    assert bench.cooldowns.acquire("shop", "restart", "attempt-1", 30)
    assert bench.cooldowns.acquire("shop", "restart", "attempt-1", 30)
    assert not bench.cooldowns.acquire("shop", "restart", "attempt-2", 30)


def test_locks_of_other_services_and_strategies_are_their_own(bench: Bench) -> None:
    bench.cooldowns.acquire("shop", "restart", "attempt-1", 30)

    assert bench.cooldowns.acquire("shop", "degrade", "attempt-2", 30)
    assert bench.cooldowns.acquire("cart", "restart", "attempt-3", 30)


def test_remaining_names_only_what_is_locked(bench: Bench) -> None:
    bench.cooldowns.acquire("shop", "restart", "attempt-1", 30)
    bench.cooldowns.acquire("shop", "degrade", "attempt-2", 20.75)

    left = bench.cooldowns.remaining("shop", ["restart", "degrade", "reload"])

    assert set(left) == {"restart", "degrade"}
    assert 21 < left["restart"] <= 30
    assert 12 < left["degrade"] <= 20.75
    assert bench.cooldowns.remaining("shop", []) == {}
    assert bench.cooldowns.remaining("cart", ["restart"]) == {}


def test_taking_a_lock_again_does_not_extend_it(bench: Bench) -> None:
    bench.cooldowns.acquire("shop", "restart", "attempt-1", 30)
    bench.cooldowns.acquire("shop", "restart", "attempt-1", 9000)

    assert bench.cooldowns.remaining("shop", ["restart"])["restart"] <= 30


def test_an_expired_lock_is_free(bench: Bench) -> None:
    bench.cooldowns.acquire("shop", "restart", "attempt-1", 30)

    bench.expire("shop", "restart")

    assert bench.cooldowns.remaining("shop", ["restart"]) == {}
    assert bench.cooldowns.acquire("shop", "restart", "attempt-2", 30)


def test_only_the_holder_frees_a_lock(bench: Bench) -> None:
    bench.cooldowns.acquire("shop", "restart", "attempt-1", 30)

    bench.cooldowns.release("shop", "restart", "attempt-2")
    assert not bench.cooldowns.acquire("shop", "restart", "attempt-2", 30)

    bench.cooldowns.release("shop", "restart", "attempt-1")
    bench.cooldowns.release("shop", "restart", "attempt-1")
    assert bench.cooldowns.acquire("shop", "restart", "attempt-2", 30)


def test_a_cooldown_of_zero_locks_nothing(bench: Bench) -> None:
    assert bench.cooldowns.acquire("shop", "restart", "attempt-1", 0)
    assert bench.cooldowns.acquire("shop", "restart", "attempt-2", 30)
    assert not bench.cooldowns.acquire("shop", "restart", "attempt-3", 0)


def test_of_many_threads_exactly_one_takes_the_lock(bench: Bench) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda worker: bench.cooldowns.acquire("shop", "restart", f"attempt-{worker}", 30), range(8)))

    assert taken.count(True) == 1


def test_a_lost_reply_does_not_lock_the_holder_out(redis_client: redis.Redis) -> None:
    redis_client.set(cooldown_key("shop", "restart"), "attempt-1", px=30_000)  # it arrived; only the answer got lost

    assert RedisCooldowns(redis_client).acquire("shop", "restart", "attempt-1", 30)


def test_scripts_survive_a_server_that_forgot_them(redis_client: redis.Redis) -> None:
    cooldowns = RedisCooldowns(redis_client)
    cooldowns.acquire("shop", "restart", "attempt-1", 30)

    redis_client.script_flush()

    assert cooldowns.remaining("shop", ["restart"])
    assert not cooldowns.acquire("shop", "restart", "attempt-2", 30)


def test_a_connection_that_the_server_closed_is_opened_again(redis_client: redis.Redis, valkey_url: str) -> None:
    cooldowns = RedisCooldowns(connect(valkey_url))
    assert cooldowns.acquire("shop", "restart", "attempt-1", 30)

    redis_client.client_kill_filter(skipme=True)

    assert cooldowns.acquire("shop", "restart", "attempt-1", 30)


def test_a_forked_child_leaves_its_parents_connection_alone(redis_client: redis.Redis, valkey_url: str) -> None:
    cooldowns = RedisCooldowns(connect(valkey_url))
    assert cooldowns.acquire("shop", "restart", "attempt-1", 30)

    child = get_context("fork").Process(target=cooldowns.release, args=("shop", "restart", "attempt-1"))
    child.start()
    child.join(60)

    assert child.exitcode == 0
    assert not redis_client.exists(cooldown_key("shop", "restart"))
    assert cooldowns.acquire("shop", "restart", "attempt-2", 30)


def test_all_locks_of_a_service_live_in_one_slot_of_a_cluster() -> None:
    assert cooldown_key("shop", "restart") == "recovery:cooldown:{shop}:restart"


def test_a_server_that_is_gone_or_hangs_is_unavailable_soon(short_dir: Path) -> None:
    server = ValkeyServer(short_dir)
    server.start()
    client = connect(server.url)
    cooldowns, heartbeats = RedisCooldowns(client), RedisHeartbeats(client)
    assert cooldowns.acquire("shop", "restart", "attempt-1", 30)

    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        cooldowns.remaining("shop", ["restart"])
    assert time.monotonic() - began < 4.0, "the command must not be repeated"
    server.signal(signal.SIGCONT)
    assert eventually(lambda: cooldowns.remaining("shop", ["restart"]))

    server.kill()
    with pytest.raises(StoreUnavailable):
        cooldowns.acquire("shop", "restart", "attempt-1", 30)
    with pytest.raises(StoreUnavailable):
        cooldowns.release("shop", "restart", "attempt-1")
    with pytest.raises(StoreUnavailable):
        heartbeats.last("shop")
    client.close()


def test_a_wrong_url_is_named_without_its_password() -> None:
    with pytest.raises(ConfigurationError, match=r"http://:\*\*\*@host") as caught:
        connect("http://:secret@host")

    assert "secret" not in str(caught.value)


def test_a_heartbeat_is_epoch_seconds_and_anything_else_is_none(redis_client: redis.Redis) -> None:
    heartbeats = RedisHeartbeats(redis_client)
    assert heartbeats.last("shop") is None

    redis_client.set("recovery:heartbeat:shop", "1767268800.25")
    assert heartbeats.last("shop") == datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)

    for garbage in (b"soon", b"", b"nan", b"inf", b"1e400", b"\xff"):
        redis_client.set("recovery:heartbeat:shop", garbage)
        assert heartbeats.last("shop") is None
