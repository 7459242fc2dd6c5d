"""Services learn what to do without by push, keep it while Redis is away, and never wait for it twice."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from redis import Redis

from recovery.client import RecoveryClient
from recovery.degrade import RedisDegradations, RedisEndpoints
from recovery.degrade.keys import DEGRADATION
from recovery.errors import ConfigurationError
from recovery.models import Degradation, Endpoint, Level, utcnow
from tests.support import ValkeyServer, eventually


@pytest.fixture
def client(valkey_url: str, redis_client: Redis, tmp_path: Path) -> Iterator[RecoveryClient]:
    with RecoveryClient(valkey_url, spool=tmp_path) as client:
        yield client


def degraded(service: str = "search", seconds: float = 60.0, off: tuple[str, ...] = ("suggestions",), left: int = 20) -> Degradation:
    now = utcnow()
    return Degradation(service, Level.LIMITED, now, now + timedelta(seconds=seconds), off, {"indexing": left}, fence=1)


def test_everything_is_on_while_nothing_is_in_force(client: RecoveryClient) -> None:
    assert client.flags.enabled("suggestions")
    assert client.flags.enabled("suggestions", default=False), "Redis was read: nothing switches it off"
    assert client.flags.capability("indexing") == 100
    assert client.flags.level("search") == "normal"
    assert client.endpoint("db", "http://primary") == "http://primary"


def test_the_very_first_question_knows_what_is_in_force_already(client: RecoveryClient, redis_client: Redis) -> None:
    RedisDegradations(redis_client).put(degraded())

    assert not client.flags.enabled("suggestions")


def test_a_change_is_pushed(client: RecoveryClient, redis_client: Redis) -> None:
    degradations, endpoints = RedisDegradations(redis_client), RedisEndpoints(redis_client)
    client._watch._poll = 3_600.0  # only a push can tell in time
    assert client.flags.enabled("suggestions")

    degradations.put(degraded())
    endpoints.switch(Endpoint("db", "replica", "http://replica", utcnow(), fence=1))

    eventually(lambda: not client.flags.enabled("suggestions"))
    eventually(lambda: client.endpoint("db", "http://primary") == "http://replica")
    assert client.flags.capability("indexing") == 20
    assert client.flags.level("search") == "limited"
    assert client.flags.enabled("another feature")

    degradations.clear("search", 1)
    endpoints.clear("db", 1)

    eventually(lambda: client.flags.enabled("suggestions"))
    eventually(lambda: client.endpoint("db", "http://primary") == "http://primary")


def test_a_lost_push_is_made_up_for_by_the_poll(client: RecoveryClient, redis_client: Redis) -> None:
    assert client.flags.enabled("suggestions")
    degradations = RedisDegradations(redis_client)
    degradations.put(degraded())
    eventually(lambda: not client.flags.enabled("suggestions"))

    redis_client.delete(DEGRADATION + "search")

    eventually(lambda: client.flags.enabled("suggestions"))


@pytest.mark.parametrize("garbage", [b"no json", b"[1]", b'{"service": "mail"}', b"null"])
def test_one_unreadable_value_does_not_hide_the_others(client: RecoveryClient, redis_client: Redis, garbage: bytes) -> None:
    RedisDegradations(redis_client).put(degraded("mail"))
    RedisDegradations(redis_client).put(degraded("search"))
    redis_client.set(DEGRADATION + "mail", garbage)

    assert client.flags.level("search") == "limited"
    assert client.flags.level("mail") == "normal"


def test_one_service_can_be_asked_for(client: RecoveryClient, redis_client: Redis) -> None:
    RedisDegradations(redis_client).put(degraded("search", left=20))
    RedisDegradations(redis_client).put(degraded("mail", off=("newsletter",), left=60))

    assert client.warm_up()
    assert client.flags.enabled("suggestions", service="mail")
    assert not client.flags.enabled("suggestions", service="search")
    assert not client.flags.enabled("newsletter")
    assert client.flags.capability("indexing") == 20, "the least that anybody leaves"
    assert client.flags.capability("indexing", service="mail") == 60
    assert client.flags.capability("unlimited", default=75) == 75


def test_what_is_known_stays_while_redis_is_away_until_it_ends_by_itself(short_dir: Path, tmp_path: Path) -> None:
    server = ValkeyServer(short_dir)
    server.start()
    try:
        with RecoveryClient(server.url, spool=tmp_path) as client:
            with Redis.from_url(server.url) as redis:
                RedisDegradations(redis).put(degraded("search", seconds=5.0))
                RedisDegradations(redis).put(degraded("mail", off=("newsletter",)))
            assert not client.flags.enabled("suggestions")
            server.kill()

            assert not client.flags.enabled("suggestions")
            eventually(lambda: client.flags.enabled("suggestions"))
            assert not client.flags.enabled("newsletter")

            server.start()
            eventually(lambda: client.flags.enabled("newsletter"), message="a new, empty Redis knows of no degradation")
    finally:
        server.kill()


def test_without_redis_the_defaults_hold_and_only_the_first_question_waits(tmp_path: Path) -> None:
    with RecoveryClient("redis://192.0.2.1:6379", spool=tmp_path) as client:
        began = time.monotonic()
        assert client.flags.enabled("suggestions")
        first = time.monotonic() - began

        began = time.monotonic()
        assert not client.flags.enabled("suggestions", default=False)
        assert client.flags.capability("indexing", default=30) == 30
        assert client.flags.level("search") == "normal"
        assert client.endpoint("db", "http://primary") == "http://primary"
        later = time.monotonic() - began

    assert first <= 5.0  # a second, and what a busy machine adds
    assert later <= 0.8  # one wait would be 0.9


async def test_an_event_loop_is_not_held_up_by_the_first_question(
    client: RecoveryClient, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    RedisDegradations(redis_client).put(degraded())
    may_answer = Event()
    load = client._view.load
    monkeypatch.setattr(client._view, "load", lambda redis: may_answer.wait(60) and load(redis))

    assert client.flags.enabled("suggestions"), "nothing is known, so the default"
    assert not client.flags.enabled("suggestions", default=False)
    may_answer.set()

    assert await asyncio.to_thread(eventually, lambda: not client.flags.enabled("suggestions")), "the first question began the watch"


def test_a_forked_child_knows_what_its_parent_knew_and_hears_of_changes_itself(
    valkey_url: str, redis_client: Redis, tmp_path: Path
) -> None:
    RedisDegradations(redis_client).put(degraded())
    script = """
import os, sys, time
from recovery.client import RecoveryClient
client = RecoveryClient(sys.argv[1], spool=sys.argv[2])
assert client.warm_up(60)
pid = os.fork()
if pid == 0:
    client.warm_up = None  # nothing waits in the child
    print("on" if client.flags.enabled("suggestions") else "off", flush=True)
    deadline = time.monotonic() + 60
    while not client.flags.enabled("suggestions") and time.monotonic() < deadline:
        time.sleep(0.02)
    print(client.flags.why("suggestions").why, client.flags.freshness, flush=True)
    client.close()
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    command = [sys.executable, "-c", script, valkey_url, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        first = parent.stdout.readline()
        RedisDegradations(redis_client).clear("search", 1)
        later = parent.stdout.read()

    assert (first, later, parent.returncode) == ("off\n", "normal fresh\n", 0)


def test_the_system_and_every_layer_are_pushed_and_come_back_by_the_ramp(client: RecoveryClient, redis_client: Redis) -> None:
    degradations = RedisDegradations(redis_client)
    by_hand = replace(degraded("*", off=("newsletter",), left=10), layer="manual", ramp=(50,), ramp_stage=600.0, by="ann")
    assert client.flags.enabled("newsletter", service="search")

    degradations.put(by_hand)
    degradations.put(degraded("search"))

    eventually(lambda: len(client.flags.in_force("search")) == 2)
    assert not client.flags.enabled("newsletter", service="search")
    assert client.capability("indexing", service="search") == 10

    degradations.end("*", None, "manual")

    eventually(lambda: client.flags.why("newsletter").why == "restoring")
    assert {client.flags.enabled("newsletter", key=f"user-{number}") for number in range(50)} == {True, False}
    assert client.capability("indexing", service="mail") == 55, "half of the way back from 10"
    assert client.capability("indexing", service="search") == 20, "the strategy's own is in force as before"


def test_a_wrong_url_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"'http://user:\*\*\*@host': must begin with redis://, rediss://, unix://"):
        RecoveryClient("http://user:secret@host")


def test_a_port_that_is_none_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError, match="Redis URL 'redis://host:port': Port could not be cast"):
        RecoveryClient("redis://host:port")


def test_without_a_url_it_finds_the_embedded_platform_of_this_folder(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECOVERY_DATA_DIR", str(short_dir / "data"))

    with RecoveryClient() as client:
        assert client._url == f"unix://{short_dir}/data/valkey.sock"
        client.report("web", "x")

    assert list((short_dir / "data" / "spool").glob("*.db"))
