"""`cache_rebuild` on a real Valkey: exactly the corrupted entries are replaced, whatever happens in between."""

import json
import os
import sys
from pathlib import Path

import pytest
import redis
from pydantic import ValidationError

from recovery.config.fleet import ServiceDeclaration
from recovery.errors import StepFailed
from recovery.integrity import seal
from recovery.models import JsonObject
from strategies.cache_rebuild import CacheRebuildOptions
from tests.contract.strategy_rigs import Attempted, Bench, cache_remedy, declare, fill_cache, journaled
from tests.support import eventually

ECHO = "import json, sys; print(json.dumps({key: 'payload of ' + key.split(':')[1] for key in json.load(sys.stdin)}))"


class Cache:
    """A cache with six sound entries, and a table to rebuild it from."""

    def __init__(self, home: Path, client: "redis.Redis", url: str) -> None:
        self.home = home
        self.client = client
        self.remedy = cache_remedy(home, url)
        self.bench = Bench(home)
        fill_cache(client, "abcdef")

    def service(self, **options: object) -> ServiceDeclaration:
        remedy: JsonObject = {**self.remedy, **options}  # type: ignore[dict-item]
        return declare("shop-cache", remedies={"cache_rebuild": remedy})

    def attempt(self, fence: int = 1, **options: object) -> Attempted:
        return self.bench.steps(self.service(**options), "cache_rebuild", fence=fence)

    def corrupt(self, *names: str) -> None:
        for name in names:
            self.client.set(f"product:{name}", b"scribble", keepttl=True)

    def value(self, name: str) -> bytes | None:
        value: bytes | None = self.client.get(f"product:{name}")  # type: ignore[assignment]
        return value


@pytest.fixture
def cache(short_dir: Path, redis_client: redis.Redis, valkey_url: str) -> Cache:
    return Cache(short_dir, redis_client, valkey_url)


def test_only_the_corrupted_entries_are_written(cache: Cache) -> None:
    cache.corrupt("b", "e")
    cache.client.config_set("notify-keyspace-events", "KA")
    listener = cache.client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    listener.psubscribe("__keyspace@0__:product:*")
    eventually(cache.client.pubsub_numpat)

    results = cache.attempt().run()

    cache.client.delete("product:f")  # whatever was written before is told before
    touched = []
    while "f" not in touched:
        message = eventually(lambda: listener.get_message(timeout=0.1))
        touched.append(message["channel"].decode().rpartition(":")[2])
    listener.close()
    cache.client.config_set("notify-keyspace-events", "")
    assert set(touched) == {"b", "e", "f"}
    assert results["find"] == {"entries": 6, "corrupted": 2, "keys": dict.fromkeys(["product:b", "product:e"], "has no checksum")}
    assert results["rebuild"] == {"replaced": 2, "dropped": 0, "changed_meanwhile": 0}
    assert cache.value("b") == seal(b"payload of b")


def test_the_time_to_live_of_a_rebuilt_entry_stays_as_it_was(cache: Cache) -> None:
    cache.client.persist("product:a")
    cache.corrupt("a", "b")
    before = cache.client.pttl("product:b")

    cache.attempt().run()

    assert cache.client.pttl("product:a") == -1
    assert 0 < cache.client.pttl("product:b") <= before


def test_an_entry_that_the_source_no_longer_has_is_dropped(cache: Cache) -> None:
    cache.client.set("product:zombie", b"scribble")

    results = cache.attempt().run()

    assert results["rebuild"]["dropped"] == 1
    assert not cache.client.exists("product:zombie")


def test_an_entry_of_the_wrong_type_is_replaced(cache: Cache) -> None:
    cache.client.delete("product:c")
    cache.client.lpush("product:c", "x")

    cache.attempt().run()

    assert cache.value("c") == seal(b"payload of c")


def test_an_entry_that_its_owner_repaired_meanwhile_is_left_alone(cache: Cache) -> None:
    cache.corrupt("b")
    fresh = seal(b"fresher payload of b")
    socket = cache.client.connection_pool.connection_kwargs["path"]
    repair = f"import redis; redis.Redis(unix_socket_path={socket!r}).set('product:b', {fresh!r}); {ECHO}"

    results = cache.attempt(source={"command": [sys.executable, "-c", repair]}).run()

    assert results["rebuild"]["changed_meanwhile"] == 1
    assert cache.value("b") == fresh


def test_a_successor_rebuilds_what_is_left_and_an_older_attempt_cannot_write_any_more(cache: Cache) -> None:
    cache.corrupt("a", "b", "c")
    frozen = cache.attempt(fence=1)
    frozen.run(["find"])
    cache.client.set("recovery:rebuild:shop-cache", 2, px=60_000)

    with pytest.raises(StepFailed, match="a newer attempt is rebuilding"):
        frozen.run(["rebuild"])

    assert cache.value("a") == b"scribble"
    cache.attempt(fence=2).run()
    assert cache.value("a") == seal(b"payload of a")
    assert not cache.client.exists("recovery:rebuild:shop-cache")


def test_many_entries_are_rebuilt_in_batches(cache: Cache) -> None:
    for number in range(1_000):
        cache.client.set(f"product:{number}", b"scribble")
    for number in range(1_000):
        cache.client.set(f"other:{number}", b"not ours")

    results = cache.attempt(batch=200, source={"command": [sys.executable, "-c", ECHO]}).run()

    assert results["rebuild"]["replaced"] == 1_000
    assert cache.client.get("other:7") == b"not ours"
    assert results["verify"] == {"entries": 1_006, "corrupted": 0}


def test_keys_that_are_no_text_survive_the_way_to_the_source_and_back(cache: Cache) -> None:
    key = b"product:\xff\xfe"
    cache.client.set(key, b"scribble")

    cache.attempt(source={"command": [sys.executable, "-c", ECHO]}).run()

    assert cache.client.get(key) == seal(b"payload of \xff\xfe")


def test_a_python_source_is_called_in_a_process_of_its_own(cache: Cache) -> None:
    (cache.home / "catalog.py").write_text(
        "import os\ndef load(keys):\n    print('noise')\n    return {key: {'key': key, 'pid': os.getpid()} for key in keys}\n"
    )
    cache.corrupt("b")

    cache.attempt(source={"python": "catalog:load", "cwd": str(cache.home)}, rule={"format": "json", "required_keys": ["key"]}).run()

    value = json.loads(cache.value("b") or b"")
    assert value["key"] == "product:b"
    assert value["pid"] != os.getpid()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({"python": "no_such_module:load"}, "failed with exit code 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ({"python": "json:dumps"}, "json:dumps returned str, not a mapping"),
        ({"command": ["/bin/sh", "-c", "echo out of licenses >&2; exit 3"]}, "failed with exit code 3: out of licenses"),
        ({"command": ["echo", "hello"]}, "printed no JSON"),
        ({"command": ["echo", "[]"]}, "must give an object"),
        ({"command": ["echo", '{"product:zzz": "x"}']}, "answered for a key that was not asked for: 'product:zzz'"),
        ({"command": ["sleep", "60"], "timeout": 0.2}, "'sleep' did not end within 0.2 s"),
    ],
)
def test_a_source_that_fails_changes_nothing_and_says_why(cache: Cache, source: JsonObject, sentence: str) -> None:
    cache.corrupt("b")

    with pytest.raises(StepFailed) as caught:
        cache.attempt(source=source).run()

    assert sentence in caught.value.message
    assert cache.value("b") == b"scribble"


def test_a_value_that_breaks_the_rule_itself_is_not_written(cache: Cache) -> None:
    cache.corrupt("a", "b")
    rule = {"format": "checksum", "required_keys": ["price"]}

    with pytest.raises(StepFailed, match=r"the source gave a value for 'product:.' that is not JSON"):
        cache.attempt(rule=rule).run()

    assert cache.value("a") == b"scribble"


def test_a_cache_that_is_away_is_told_without_its_password(cache: Cache) -> None:
    with pytest.raises(StepFailed, match="does not answer") as caught:
        cache.attempt(url="redis://:sesame@127.0.0.1:9/0").run()

    assert "sesame" not in caught.value.message


@pytest.mark.parametrize(
    "source",
    [{}, {"python": "x"}, {"command": []}, {"python": "a:b", "command": ["c"]}, {"sql": {"url": "sqlite://", "query": "SELECT 1"}}],
)
def test_a_source_that_cannot_work_is_refused(source: JsonObject) -> None:
    with pytest.raises(ValidationError):
        CacheRebuildOptions.model_validate({"url": "redis://x", "source": source})


def test_a_lost_rebuild_is_taken_up_where_it_was_left(cache: Cache) -> None:
    cache.corrupt("a", "b")
    attempted = cache.attempt()
    attempted.run(["find"])
    rebuild = attempted.named("rebuild")
    intent = journaled(rebuild.prepare())
    cache.client.set("product:a", seal(b"payload of a"))

    assert rebuild.reconcile(intent) is None
    assert rebuild.run(intent)["replaced"] == 1
    assert rebuild.reconcile(intent) == {"entries": 6, "corrupted": 0}
