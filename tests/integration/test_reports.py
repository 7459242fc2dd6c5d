"""The drain of the reports' stream, on a real Valkey with an intake that can be told to fail."""

import json
import threading
from collections.abc import Iterator, Sequence

import pytest
from redis import Redis

from recovery.errors import RecoveryError, ServiceNotFound, StoreUnavailable
from recovery.models import JsonObject
from recovery.store.connect import connect
from tests.support import eventually
from workers import streams
from workers.reports import FIELD, FIELD_OF_MANY, GROUP, STREAM, Drain


class FakeIntake:
    """Remembers what was handed in; raises what it was told to."""

    def __init__(self) -> None:
        self.taken: list[JsonObject] = []
        self.ids: list[object] = []
        self.refused: list[tuple[str, str]] = []
        self.error: Exception | None = None
        self.tries = 0

    def receive(self, payloads: Sequence[JsonObject]) -> list[RecoveryError]:
        self.tries += 1
        if isinstance(self.error, ServiceNotFound):
            return [self.error for _ in payloads]
        if self.error is not None:
            raise self.error
        if any(payload.get("service") == "poison" for payload in payloads):
            raise ZeroDivisionError("the database refuses this one")
        self.taken.extend({name: value for name, value in payload.items() if name != "id"} for payload in payloads)
        self.ids.extend(payload["id"] for payload in payloads)
        return []

    def refuse(self, garbage: Sequence[tuple[str, str]]) -> None:
        self.refused.extend(garbage)


@pytest.fixture
def intake() -> FakeIntake:
    return FakeIntake()


@pytest.fixture
def redis(redis_client: Redis, valkey_url: str) -> Iterator[Redis]:
    """The client that the platform uses, on an empty server."""
    client = connect(valkey_url)
    yield client
    client.close()


@pytest.fixture
def drain(redis: Redis, intake: FakeIntake) -> Iterator[Drain]:
    """A drain at work."""
    drain, stop = Drain(redis, "worker", intake.receive, intake.refuse), threading.Event()
    thread = threading.Thread(target=drain.run, args=(stop,))
    thread.start()
    yield drain
    stop.set()
    thread.join(timeout=60)
    assert not thread.is_alive()


def add(redis: Redis, payload: object) -> None:
    redis.xadd(STREAM, {FIELD: payload if isinstance(payload, bytes) else json.dumps(payload)})


def waiting(redis: Redis) -> int:
    return int(redis.xlen(STREAM))


def test_reports_are_taken_in_and_leave_the_stream(redis: Redis, drain: Drain, intake: FakeIntake) -> None:
    for number in range(500):
        add(redis, {"service": f"shop-{number}"})

    eventually(lambda: waiting(redis) == 0)

    assert [payload["service"] for payload in intake.taken] == [f"shop-{number}" for number in range(500)]


def test_reports_from_before_the_first_worker_are_not_lost(redis: Redis, intake: FakeIntake) -> None:
    add(redis, {"service": "shop"})
    drain, stop = Drain(redis, "worker", intake.receive, intake.refuse), threading.Event()

    thread = threading.Thread(target=drain.run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: intake.taken == [{"service": "shop"}])
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("garbage", [b"{", b"[1]", b"\xff\xfe", b""])
def test_garbage_is_noted_once_and_does_not_hold_up_the_rest(redis: Redis, drain: Drain, intake: FakeIntake, garbage: bytes) -> None:
    add(redis, garbage)
    add(redis, {"service": "shop"})

    eventually(lambda: waiting(redis) == 0)

    assert intake.taken == [{"service": "shop"}]
    assert len(intake.refused) == 1


def test_a_refused_report_is_not_handed_in_again(redis: Redis, drain: Drain, intake: FakeIntake) -> None:
    intake.error = ServiceNotFound("no service 'shoop' is declared")
    add(redis, {"service": "shoop"})

    eventually(lambda: waiting(redis) == 0)

    assert intake.tries == 1


def test_an_intake_that_breaks_on_one_report_goes_on_with_the_next(redis: Redis, drain: Drain, intake: FakeIntake) -> None:
    intake.error = ZeroDivisionError("a bug")
    add(redis, {"service": "unlucky"})
    eventually(lambda: waiting(redis) == 0)

    intake.error = None
    add(redis, {"service": "shop"})
    eventually(lambda: intake.taken == [{"service": "shop"}])

    assert "a bug" in intake.refused[0][0]


def test_reports_wait_in_the_stream_while_the_database_is_away(redis: Redis, drain: Drain, intake: FakeIntake) -> None:
    intake.error = StoreUnavailable()
    add(redis, {"service": "shop"})
    eventually(lambda: intake.tries >= 2)
    kept = waiting(redis)

    intake.error = None
    eventually(lambda: waiting(redis) == 0)

    assert kept == 1
    assert intake.taken == [{"service": "shop"}]


def test_a_drain_outlives_whatever_breaks_and_goes_on_when_it_is_mended(
    redis: Redis, drain: Drain, intake: FakeIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ZeroDivisionError("such as a table that a migration is still to make")

    def refuse(_garbage: object) -> None:
        raise broken

    monkeypatch.setattr(drain, "_refuse", refuse)
    intake.error = broken
    add(redis, {"service": "shop"})
    eventually(lambda: intake.tries >= 3)
    intake.error = None

    eventually(lambda: waiting(redis) == 0)

    assert intake.taken == [{"service": "shop"}]


def test_what_a_dead_worker_had_read_is_taken_over(redis: Redis, intake: FakeIntake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "CLAIM_IDLE", 0)
    redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    add(redis, {"service": "shop"})
    redis.xreadgroup(GROUP, "dead", {STREAM: ">"})

    Drain(redis, "alive", intake.receive, intake.refuse).turn()

    assert intake.taken == [{"service": "shop"}]
    assert waiting(redis) == 0


def test_a_worker_that_is_only_slow_keeps_what_it_read(redis: Redis, intake: FakeIntake) -> None:
    redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    add(redis, {"service": "shop"})
    redis.xreadgroup(GROUP, "slow", {STREAM: ">"})

    Drain(redis, "eager", intake.receive, intake.refuse).turn()

    assert intake.taken == []


def test_silent_workers_without_reports_are_forgotten(redis: Redis, intake: FakeIntake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "FORGET_IDLE", -1)
    redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    redis.xgroup_createconsumer(STREAM, GROUP, "gone")

    Drain(redis, "alive", intake.receive, intake.refuse).turn()

    assert b"gone" not in {consumer["name"] for consumer in redis.xinfo_consumers(STREAM, GROUP)}


def test_a_lost_stream_is_made_again(redis: Redis, drain: Drain, intake: FakeIntake) -> None:
    add(redis, {"service": "first"})
    eventually(lambda: len(intake.taken) == 1)

    redis.delete(STREAM)
    add(redis, {"service": "second"})

    eventually(lambda: len(intake.taken) == 2)


def test_one_report_that_cannot_be_taken_in_blocks_nobody(redis: Redis, drain: Drain, intake: FakeIntake) -> None:
    with redis.pipeline() as pipe:
        for name in ("first", "poison", "last"):
            pipe.xadd(STREAM, {FIELD: json.dumps({"service": name})})
        pipe.execute()

    eventually(lambda: waiting(redis) == 0)

    assert [payload["service"] for payload in intake.taken] == ["first", "last"]
    [(reason, raw)] = intake.refused
    assert "the database refuses this one" in reason
    assert json.loads(raw)["service"] == "poison"


def test_an_outage_in_the_middle_keeps_every_report_and_their_order(
    redis: Redis, intake: FakeIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Drain, "batch", 10)
    names = [f"shop-{number}" for number in range(35)]
    for name in names:
        add(redis, {"service": name})
    drain = Drain(redis, "worker", intake.receive, intake.refuse)
    drain.join()
    drain.turn()

    intake.error = StoreUnavailable()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            drain.turn()
    assert (waiting(redis), len(intake.taken)) == (25, 10)

    intake.error = None
    stop = threading.Event()
    thread = threading.Thread(target=drain.run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: waiting(redis) == 0)
    finally:
        stop.set()
        thread.join()
    assert [payload["service"] for payload in intake.taken] == names


def test_what_follows_starts_after_the_entries_are_acknowledged(redis: Redis, intake: FakeIntake) -> None:
    left: list[int] = []
    intake.error = ServiceNotFound("no service 'shoop' is declared")  # an answer like another
    add(redis, {"service": "shoop"})
    drain = Drain(redis, "worker", intake.receive, intake.refuse, lambda _answers: left.append(waiting(redis)))
    drain.join()

    drain.turn()

    assert left == [0]


def add_many(redis: Redis, *items: object) -> None:
    redis.xadd(STREAM, {FIELD_OF_MANY: json.dumps(items)})


def test_an_entry_may_carry_several_reports(redis: Redis, drain: Drain, intake: FakeIntake) -> None:
    add_many(redis, {"service": "first"}, {"service": "second"})
    add(redis, {"service": "third"})

    eventually(lambda: waiting(redis) == 0)

    assert [payload["service"] for payload in intake.taken] == ["first", "second", "third"]


def test_what_is_no_report_among_several_is_noted_and_the_others_are_taken_in(redis: Redis, drain: Drain, intake: FakeIntake) -> None:
    add_many(redis, {"service": "first"}, "garbage", {"service": "poison"}, {"service": "last"})

    eventually(lambda: waiting(redis) == 0)

    assert [payload["service"] for payload in intake.taken] == ["first", "last"]
    assert [reason for reason, _ in intake.refused] == [
        "item 2 of `failures` is not a JSON object",
        "ZeroDivisionError: the database refuses this one",
    ]
    assert intake.refused[0][1] == '"garbage"'


def test_a_report_without_an_id_is_the_same_one_the_second_time(redis: Redis, intake: FakeIntake, monkeypatch: pytest.MonkeyPatch) -> None:
    add(redis, {"service": "shop"})
    add_many(redis, {"service": "shop"}, {"service": "shop", "id": "its own"})
    drain = Drain(redis, "worker", intake.receive, intake.refuse)
    drain.join()
    monkeypatch.setattr(drain, "_acknowledge", lambda _done: None)  # the worker dies between commit and acknowledgement

    drain.turn()
    drain.take(drain.read("0", block=None))

    assert intake.ids[:3] == intake.ids[3:]
    assert len(set(intake.ids)) == 3
    assert intake.ids[2] == "its own"


@pytest.mark.parametrize("garbage", ["{", "{}", "7"])
def test_several_that_are_no_array_are_noted_once(redis: Redis, drain: Drain, intake: FakeIntake, garbage: str) -> None:
    redis.xadd(STREAM, {FIELD_OF_MANY: garbage})

    eventually(lambda: waiting(redis) == 0)

    [(reason, raw)] = intake.refused
    assert "`failures` is not" in reason
    assert raw == garbage


def test_no_transaction_takes_more_reports_than_it_should(redis: Redis, intake: FakeIntake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Drain, "batch", 10)
    sizes: list[int] = []
    for _ in range(5):
        add_many(redis, *[{"service": "shop"}] * 4)
    add_many(redis, *[{"service": "shop"}] * 25)

    def receive(payloads: Sequence[JsonObject]) -> list[RecoveryError]:
        sizes.append(len(payloads))
        return []

    drain = Drain(redis, "worker", receive, intake.refuse)
    drain.join()

    drain.turn()

    assert sizes == [8, 8, 4, 25]
    assert waiting(redis) == 0
