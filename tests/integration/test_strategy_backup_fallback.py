"""`backup_fallback` on real files and sockets: the newest good backup wins, the broken original is kept, callers find a living endpoint."""

import hashlib
import os
import re
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
import redis
from pydantic import JsonValue, ValidationError

from recovery.config.fleet import ServiceDeclaration
from recovery.degrade import RedisEndpoints
from recovery.errors import StepFailed
from recovery.models import Action, Category
from recovery.ports import Endpoints
from strategies import STRATEGIES
from strategies.backup_fallback import BackupFallbackOptions
from tests.contract.driver_rigs import ProcessRig
from tests.contract.strategy_rigs import Attempted, Bench, declare, endpoint, journaled, make_database, scribble, write_checksum
from tests.support import eventually, free_port


class Orders:
    """A data file with backups."""

    def __init__(self, home: Path) -> None:
        self.path = home / "orders.db"
        self.backups = home / "backups"
        self.backups.mkdir()
        self.bench = Bench(home)

    def backup(self, name: str, rows: int, age: float = 0.0) -> Path:
        path = make_database(self.backups / name, rows)
        then = time.time() - age
        os.utime(path, (then, then))
        return path

    def attempt(self, **options: object) -> Attempted:
        remedy = {"path": str(self.path), "backups": str(self.backups), **options}
        return self.bench.steps(declare("orders", remedies={"backup_fallback": remedy}), "backup_fallback")  # type: ignore[dict-item]

    def rows(self) -> int:
        with closing(sqlite3.connect(self.path)) as database:
            return int(database.execute("SELECT count(*) FROM orders").fetchone()[0])

    def kept(self) -> list[str]:
        return sorted(path.name for path in self.path.parent.glob("orders.db.broken-*"))


@pytest.fixture
def orders(short_dir: Path) -> Orders:
    return Orders(short_dir)


def test_the_newest_backup_that_verifies_is_restored_and_the_original_kept(orders: Orders) -> None:
    scribble(make_database(orders.path, 70))
    broken = orders.path.read_bytes()
    orders.path.with_name("orders.db-wal").write_bytes(b"stale frames")
    orders.backup("orders-1.db", 40, age=300)
    orders.backup("orders-2.db", 50, age=200)
    scribble(orders.backup("orders-3.db", 60, age=100))
    (orders.backups / "orders-4.db").write_bytes(b"")

    results = orders.attempt().run()

    assert orders.rows() == 50
    kept = orders.kept()
    assert [name.endswith("-wal") for name in kept] == [False, True]
    assert (orders.path.parent / kept[0]).read_bytes() == broken
    assert (orders.path.parent / kept[1]).read_bytes() == b"stale frames"
    refused = results["choose"]["refused"]
    assert isinstance(refused, list)
    assert refused[0] == "orders-4.db is empty"
    assert "orders-3.db fails SQLite's integrity check" in str(refused[1])
    assert not list(orders.path.parent.glob(".*"))


def test_verifying_a_backup_leaves_no_trace_beside_it(orders: Orders) -> None:
    orders.backup("orders-1.db", 40)
    before = sorted(os.listdir(orders.backups))  # noqa: PTH208

    orders.attempt().run(["choose"])

    assert sorted(os.listdir(orders.backups)) == before  # noqa: PTH208


def test_a_checksum_file_must_match_where_there_is_one(orders: Orders) -> None:
    write_checksum(orders.backup("orders-1.db", 40, age=100))
    newest = orders.backup("orders-2.db", 50)
    write_checksum(newest)
    with closing(sqlite3.connect(newest)) as database:
        database.execute("DELETE FROM orders WHERE id > 3")
        database.commit()

    results = orders.attempt().run()

    assert orders.rows() == 40
    assert results["choose"]["refused"] == ["orders-2.db does not match its checksum file orders-2.db.sha256"]


def test_without_a_good_backup_every_candidate_is_named_with_its_fault_and_nothing_is_touched(orders: Orders) -> None:
    scribble(make_database(orders.path))
    broken = orders.path.read_bytes()
    orders.backup("orders-1.db", 40, age=7_200)
    scribble(orders.backup("orders-2.db", 40, age=60))
    orders.backup("orders-3.db", 40, age=30)
    (orders.backups / "orders-4.txt").write_text("a note of the operator, long enough")

    with pytest.raises(StepFailed) as caught:
        orders.attempt(max_age=3_600.0, checksum_required=True).run()

    for fault in (
        "orders-4.txt has no checksum file orders-4.txt.sha256",
        "orders-3.db has no checksum file orders-3.db.sha256",
        "orders-2.db has no checksum file",
    ):
        assert fault in caught.value.message
    assert re.search(r"orders-1\.db is 72\d\d s old, older than 3600 s", caught.value.message)
    assert orders.path.read_bytes() == broken
    assert orders.kept() == []


def test_an_empty_backup_folder_is_told(orders: Orders) -> None:
    with pytest.raises(StepFailed, match="there is no backup at"):
        orders.attempt().run()


def test_a_pattern_chooses_among_the_files_of_a_folder(orders: Orders) -> None:
    orders.backup("orders-1.db", 40, age=100)
    orders.backup("customers-1.db", 7)

    orders.attempt(backups=str(orders.backups / "orders-*.db")).run()

    assert orders.rows() == 40


def test_a_lost_original_is_restored_too(orders: Orders) -> None:
    orders.backup("orders-1.db", 40)

    results = orders.attempt().run()

    assert orders.rows() == 40
    assert results["set_aside"]["kept"] == []


def test_a_reader_finds_a_file_at_every_moment(orders: Orders) -> None:
    orders.backup("orders-1.db", 40)
    scribble(make_database(orders.path))
    attempted = orders.attempt()

    for work in attempted.works:
        attempted.run([work.name])
        assert orders.path.exists(), f"there is no file after {work.name}"


def test_mode_and_owner_of_the_original_are_kept(orders: Orders) -> None:
    orders.backup("orders-1.db", 40).chmod(0o600)
    make_database(orders.path).chmod(0o640)

    orders.attempt().run()

    assert orders.path.stat().st_mode & 0o777 == 0o640


def test_a_successor_with_another_backup_set_keeps_to_what_was_chosen(orders: Orders) -> None:
    orders.backup("orders-1.db", 40, age=60)
    scribble(make_database(orders.path))
    first = orders.attempt()
    first.run(["choose", "stage", "set_aside"])
    restore = first.named("restore")
    intent = journaled(restore.prepare())
    orders.backup("orders-2.db", 50)

    assert restore.reconcile(intent) is None
    restore.run(intent)

    assert orders.rows() == 40
    assert restore.reconcile(intent) is not None


def test_a_plain_file_is_restored_by_its_checksum(orders: Orders) -> None:
    path = orders.path.with_name("prices.json")
    path.write_text("{garbage")
    backup = orders.backups / "prices-1.json"
    backup.write_text("{}")
    write_checksum(backup)
    unproven = orders.backups / "prices-2.json"
    unproven.write_text("{1}")

    orders.attempt(path=str(path), kind="file", checksum_required=True).run()

    assert path.read_text() == "{}"


def test_a_folder_is_restored_as_a_whole_by_its_list_of_checksums(orders: Orders) -> None:
    path = orders.path.with_name("pages")
    (path / "old").mkdir(parents=True)
    for name, text in (("monday", "good"), ("tuesday", "good")):
        folder = orders.backups / name
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "page").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        (orders.backups / f"{name}.sha256").write_text(f"{digest}  ./sub/page\n")
        os.utime(folder, (time.time(), time.time() + (name == "tuesday")))
    (orders.backups / "tuesday" / "extra").write_text("nobody signed for this")
    os.utime(orders.backups / "tuesday", (time.time(), time.time() + 1))

    results = orders.attempt(path=str(path), kind="folder").run()

    assert (path / "sub" / "page").read_text() == "good"
    assert not (path / "old").exists()
    assert results["choose"]["refused"] == ["tuesday does not match its checksum file tuesday.sha256: extra"]
    assert [kept.name.startswith("pages.broken-") for kept in path.parent.glob("pages.*")] == [True]


def test_a_copy_that_does_not_fit_leaves_everything_as_it_was(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    orders.backup("orders-1.db", 40)
    make_database(orders.path, 3)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("strategies.backup.swap.shutil.copyfile", full)
    with pytest.raises(StepFailed, match="No space left on device"):
        orders.attempt().run()

    assert orders.rows() == 3
    assert orders.kept() == []


def test_a_service_is_stopped_around_the_swap(short_dir: Path) -> None:
    orders, rig = Orders(short_dir), ProcessRig(short_dir)
    orders.backup("orders-1.db", 40)
    scribble(make_database(orders.path))
    rig.driver.start()
    eventually(rig.starts)
    rig.wait_until_up(rig.port)
    options = {"path": str(orders.path), "backups": str(orders.backups), "stop_service": True}
    service = declare(driver={"type": "process", **rig.options}, remedies={"backup_fallback": options})  # type: ignore[dict-item]

    attempted = orders.bench.steps(service, "backup_fallback")
    try:
        attempted.run()

        assert [work.name for work in attempted.works] == ["choose", "stage", "stop", "set_aside", "restore", "start", "ready"]
        assert rig.wrote("ended")
        assert rig.starts() == 2
        assert orders.rows() == 40
    finally:
        rig.close()


def test_stopping_needs_a_driver() -> None:
    service = declare(remedies={"backup_fallback": {"path": "/x", "backups": "/y", "stop_service": True}})

    assert STRATEGIES["backup_fallback"].refuses(service, Category.DATABASE) == "no driver is declared"


def switched(urls: dict[str, str]) -> ServiceDeclaration:
    endpoints: list[JsonValue] = [{"name": name, "url": url} for name, url in urls.items()]
    return declare(remedies={"backup_fallback": {"endpoints": endpoints, "ttl": 60}})


@pytest.fixture
def endpoints(redis_client: redis.Redis) -> Endpoints:
    return RedisEndpoints(redis_client)


def test_callers_are_sent_to_the_first_endpoint_that_accepts_and_back_again(short_dir: Path, endpoints: Endpoints) -> None:
    bench = Bench(short_dir, endpoints=endpoints)  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as server:
        alive = f"http://user:sesame@127.0.0.1:{server.getsockname()[1]}/v2"
        service = switched({"dead": f"http://127.0.0.1:{free_port()}", "alive": alive})

        results = bench.steps(service, "backup_fallback", fence=3).run()

    current = endpoints.current("shop")
    assert current is not None
    assert (current.name, current.url, current.fence) == ("alive", alive, 3)
    assert "sesame" not in str(results)
    assert STRATEGIES["backup_fallback"].mitigates_for(service) == 60
    assert STRATEGIES["backup_fallback"].verify_with(service, Action.APPLY) == ()
    assert STRATEGIES["backup_fallback"].verify_with(service, Action.REVERT) is None

    bench.steps(service, "backup_fallback", Action.REVERT, fence=4).run()

    assert endpoints.current("shop") is None


def test_an_older_attempt_cannot_switch_over_a_newer_one(short_dir: Path, endpoints: Endpoints) -> None:
    bench = Bench(short_dir, endpoints=endpoints)  # type: ignore[arg-type]
    endpoints.switch(endpoint("shop", 9))
    with socket.create_server(("127.0.0.1", 0)) as server:
        service = switched({"alive": f"http://127.0.0.1:{server.getsockname()[1]}"})

        with pytest.raises(StepFailed, match="a newer switch"):
            bench.steps(service, "backup_fallback", fence=3).run()
    with pytest.raises(StepFailed, match="a newer switch"):
        bench.steps(service, "backup_fallback", Action.REVERT, fence=3).run()


def test_a_declared_check_decides_which_endpoint_is_healthy(short_dir: Path) -> None:
    bench = Bench(short_dir)
    bench.probe.broken["one.http"] = "answered 500"
    backups: list[JsonValue] = [{"name": name, "url": f"http://{name}.example", "check": f"{name}.http"} for name in ("one", "two")]

    bench.steps(declare(remedies={"backup_fallback": {"endpoints": backups}}), "backup_fallback").run()

    current = bench.endpoints.current("shop")
    assert current is not None
    assert current.name == "two"


def test_when_no_endpoint_is_healthy_each_is_named_with_its_fault(short_dir: Path) -> None:
    service = switched({"one": f"http://127.0.0.1:{free_port()}", "two": "odd://nowhere"})

    with pytest.raises(StepFailed) as caught:
        Bench(short_dir).steps(service, "backup_fallback").run()

    assert "one: 127.0.0.1:" in caught.value.message
    assert "two: no port in its URL and none known for 'odd'" in caught.value.message


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"path": "/x"},
        {"backups": "/x"},
        {"path": "/x", "backups": "/y", "endpoints": [{"name": "a", "url": "http://b"}]},
        {"endpoints": [{"name": "a", "url": "b"}]},
        {"path": "/x", "backups": "/y", "kind": "postgres"},
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BackupFallbackOptions.model_validate(options)
