"""Real remedies on real processes and files that end half-way: nothing is left half-done."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from recovery.config.fleet import ServiceDeclaration
from recovery.config.retries import RetryDeclaration
from recovery.errors import DriverError, StepFailed
from recovery.models import JsonObject, Outcome
from strategies.backup import swap
from strategies.drivers.process import ProcessDriver
from tests.contract.driver_rigs import ProcessRig
from tests.contract.strategy_rigs import Bench, cache_remedy, declare, fill_cache, make_database, scribble
from tests.support import eventually

QUICK = RetryDeclaration(attempts=3, initial=0.01, max=0.01)


class Shop:
    """A running service on a database that is broken, with a sound backup beside it."""

    def __init__(self, home: Path) -> None:
        self.rig = ProcessRig(home)
        self.data = make_database(home / "orders.db")
        self.original = scribble_with_wal(self.data)
        (home / "backups").mkdir()
        make_database(home / "backups" / "orders-1.db")
        remedies: dict[str, JsonObject] = {
            "restart": {"stop_timeout": 5},
            "backup_fallback": {"path": str(self.data), "backups": str(home / "backups"), "stop_service": True},
        }
        declared = declare(driver={"type": "process", **self.rig.options}, remedies=remedies)
        self.service = declared.model_copy(update={"healthy_for": 0, "retry": {"restart": QUICK, "backup_fallback": QUICK}})
        self.bench = Bench(home)

    def up(self) -> int:
        before = self.rig.starts()
        self.rig.driver.start()
        eventually(lambda: self.rig.starts() > before)
        self.rig.wait_until_up(self.rig.port)
        return self.rig.pid()

    def with_remedy(self, strategy: str, **options: object) -> ServiceDeclaration:
        remedy: JsonObject = {**self.service.remedies[strategy], **options}  # type: ignore[dict-item]
        return self.service.model_copy(update={"remedies": {**self.service.remedies, strategy: remedy}})


def scribble_with_wal(data: Path) -> bytes:
    scribble(data)
    data.with_name(f"{data.name}-wal").write_bytes(b"stale")
    return data.read_bytes()


@pytest.fixture
def shop(short_dir: Path) -> Iterator[Shop]:
    shop = Shop(short_dir)
    yield shop
    shop.rig.close()


def test_a_start_that_fails_twice_is_tried_again_and_starts_one_process(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    os.kill(shop.up(), signal.SIGKILL)
    start, failures = ProcessDriver.start, [1, 2]

    def stumble(driver: ProcessDriver) -> JsonObject:
        if failures:
            failures.pop()
            raise DriverError("fork: resource temporarily unavailable")
        return start(driver)

    monkeypatch.setattr(ProcessDriver, "start", stumble)

    done = shop.bench.carry_out(shop.service, "restart")

    assert done.attempt.outcome is Outcome.RESOLVED
    assert done.steps["start"].result["tries"] == 3
    assert shop.rig.starts() == 2, "once by hand, once by the remedy"


def test_a_stopped_service_is_started_again_when_its_data_cannot_be_set_aside(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = shop.up()

    def refuse(*_: object) -> list[str]:
        raise StepFailed("cannot set orders.db aside: no space left on device")

    monkeypatch.setattr(swap, "set_aside", refuse)

    done = shop.bench.carry_out(shop.service, "backup_fallback")

    assert done.attempt.outcome is Outcome.FAILED
    assert done.attempt.reason.endswith("no space left on device; rolled back: set_aside, stop, stage")
    eventually(lambda: shop.rig.starts() == 2)
    assert shop.rig.pid() != pid
    assert shop.data.read_bytes() == shop.original
    assert [path.name for path in shop.data.parent.glob(".orders*")] == [], "the copy is gone"


def test_a_service_that_does_not_come_up_on_restored_data_gets_its_original_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.up()
    looks = iter(range(100))

    def never_ready(*_: object) -> bool:
        return next(looks) < 0

    monkeypatch.setattr("strategies.instance.accepts", never_ready)

    done = shop.bench.carry_out(shop.with_remedy("backup_fallback", ready_timeout=0.05), "backup_fallback")

    assert done.attempt.reason.endswith("; rolled back: start, restore, set_aside, stop, stage")
    assert shop.data.read_bytes() == shop.original
    assert shop.data.with_name("orders.db-wal").read_bytes() == b"stale", "with what lay beside it"
    (kept,) = shop.data.parent.glob("orders.db.undone-*")
    with closing(sqlite3.connect(kept)) as database:
        assert database.execute("SELECT count(*) FROM orders").fetchone() == (50,), "what was restored is kept"
    assert list(shop.data.parent.glob("orders.db.broken-*")) == []
    eventually(lambda: shop.rig.starts() == 3)


def test_a_restart_whose_time_is_up_after_the_stop_starts_the_service_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.up()
    start, calls = ProcessDriver.start, []

    def hang(driver: ProcessDriver) -> JsonObject:
        calls.append(driver)
        if len(calls) == 1:
            signal.pause()  # until the time limit interrupts it
        return start(driver)

    monkeypatch.setattr(ProcessDriver, "start", hang)

    done = shop.bench.carry_out(shop.service.model_copy(update={"attempt_timeout": 3.0}), "restart")

    assert done.attempt.reason == "restart took longer than the 3 s of 'attempt_timeout'; rolled back: stop"
    eventually(lambda: shop.rig.starts() == 2)


def test_a_source_that_fails_once_costs_a_try_and_not_the_attempt(short_dir: Path, redis_client: redis.Redis, valkey_url: str) -> None:
    remedy = cache_remedy(short_dir, valkey_url)
    fill_cache(redis_client, "abc")
    redis_client.set("product:b", b"scribble", keepttl=True)
    stumble = "import json, pathlib, sys\nmark = pathlib.Path('asked')\nif not mark.exists():\n    mark.touch()\n    sys.exit('later')\n"
    answer = "print(json.dumps({key: 'payload of ' + key[-1] for key in json.load(sys.stdin)}))\n"
    (short_dir / "source.py").write_text(stumble + answer)
    remedy["source"] = {"command": ["python3", "source.py"], "cwd": str(short_dir)}
    service = declare(remedies={"cache_rebuild": remedy}).model_copy(update={"healthy_for": 0, "retry": {"cache_rebuild": QUICK}})

    done = Bench(short_dir).carry_out(service, "cache_rebuild")

    assert done.attempt.outcome is Outcome.RESOLVED
    assert done.steps["rebuild"].result["tries"] == 2
