"""Redis and cache checks against a real Valkey: frozen, gone, full, with corrupted entries."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from recovery.detect.checks import check_kinds
from recovery.integrity import seal
from recovery.models import Category, FailureType
from tests.probing import probe
from tests.support import ValkeyServer


@pytest.fixture
def own_valkey(short_dir: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(short_dir)
    server.start()
    yield server
    server.kill()


def test_redis_passes_when_it_answers_fails_when_frozen_and_when_gone(own_valkey: ValkeyServer) -> None:
    options = {"url": own_valkey.url}
    assert probe("redis", options).ok

    own_valkey.signal(signal.SIGSTOP)
    frozen = probe("redis", options, seconds=0.3)
    own_valkey.signal(signal.SIGCONT)
    own_valkey.kill()
    gone = probe("redis", options)

    assert (frozen.ok, frozen.type) == (False, FailureType.TIMEOUT)
    assert (gone.ok, gone.type) == (False, FailureType.ERROR)


def test_redis_minds_its_role_and_its_memory(own_valkey: ValkeyServer) -> None:
    client = redis.Redis.from_url(own_valkey.url)
    client.config_set("maxmemory", "100mb")
    client.close()

    assert probe("redis", {"url": own_valkey.url, "role": "master", "max_memory_percent": 90, "max_memory": "100MiB"}).ok
    wrong = probe("redis", {"url": own_valkey.url, "role": "replica"})
    full = probe("redis", {"url": own_valkey.url, "max_memory_percent": 0.01})
    large = probe("redis", {"url": own_valkey.url, "max_memory": "1KiB"})

    assert wrong.message == "is a master, wanted a replica"
    assert (full.category, large.category) == (Category.MEMORY_PRESSURE, Category.MEMORY_PRESSURE)
    assert "of its maxmemory" in full.message
    assert "wanted at most 1.0KiB" in large.message


def test_a_cache_that_is_frozen_or_gone_is_not_called_corrupt(own_valkey: ValkeyServer) -> None:
    kind = check_kinds()["cache"]

    own_valkey.signal(signal.SIGSTOP)
    frozen = probe("cache", {"url": own_valkey.url}, seconds=0.3)
    own_valkey.signal(signal.SIGCONT)
    own_valkey.kill()
    gone = probe("cache", {"url": own_valkey.url})

    assert [(finding.ok, finding.category or kind.category) for finding in (frozen, gone)] == [(False, Category.CACHE)] * 2


def test_cache_names_exactly_the_corrupted_keys(redis_client: redis.Redis, valkey_url: str) -> None:
    redis_client.mset({f"item:{number}": seal(f"tea {number}".encode()) for number in range(2_000)})
    redis_client.set("other", b"not ours")
    redis_client.set("item:7", b"scribble")
    redis_client.set("item:8", seal(b"tea")[:-1])
    redis_client.delete("item:9")
    redis_client.rpush("item:9", b"a", b"b")
    redis_client.set(b"item:\xff", b"scribble")

    found = probe("cache", {"url": valkey_url, "match": "item:*", "required": ["item:1", "item:gone"]})

    assert (found.ok, found.category) == (False, Category.CACHE_CORRUPTION)
    assert found.details["corrupted"] == ["item:7", "item:8", "item:9", r"item:\xff"]
    assert found.details["corrupted_count"] == 4
    assert found.details["missing"] == ["item:gone"]
    assert found.message.startswith("4 of 2001 entries are corrupted ('item:7' has no checksum)")


def test_cache_lists_at_most_a_thousand_keys_but_counts_all(redis_client: redis.Redis, valkey_url: str) -> None:
    redis_client.mset({f"item:{number}": b"scribble" for number in range(1_500)})

    found = probe("cache", {"url": valkey_url})

    assert isinstance(found.details["corrupted"], list)
    assert (len(found.details["corrupted"]), found.details["corrupted_count"]) == (1_000, 1_500)


def test_cache_stops_at_max_keys_and_says_so(redis_client: redis.Redis, valkey_url: str) -> None:
    redis_client.mset({f"item:{number}": seal(b"tea") for number in range(50)})

    some = probe("cache", {"url": valkey_url, "max_keys": 20})
    all_of_them = probe("cache", {"url": valkey_url, "max_keys": 50})

    assert some.details == {"checked": 20, "partial": True}
    assert all_of_them.details == {"checked": 50, "partial": False}


def test_cache_understands_json_entries(redis_client: redis.Redis, valkey_url: str) -> None:
    redis_client.set("good", json.dumps({"price": 1}))
    redis_client.set("poor", json.dumps({"cost": 1}))

    found = probe("cache", {"url": valkey_url, "rule": {"format": "json", "required_keys": ["price"]}})

    assert found.details["corrupted"] == ["poor"]
    assert "lacks 'price'" in found.message
