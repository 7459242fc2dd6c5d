"""Nonsense in Redis under one breaker's keys costs that breaker alone, is said once, and can be put right."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from operator import truediv as divide
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

import recovery.breaker.shared
from recovery.breaker import Breaker, BreakerOptions, RedisBreakers
from recovery.breaker.fleet import Ended
from recovery.breaker.link import FleetLink
from recovery.breaker.shared import BREAKER_CHANGED, BREAKER_HISTORY, SharedCircuits, as_json, key_of, keys_of
from recovery.breaker.spoiled import BREAKERS
from recovery.client import CircuitOpen, RecoveryClient
from recovery.errors import BreakerSpoiled, StoreUnavailable
from recovery.models import BreakerOrder, BreakerState
from recovery.store.engine import dispose
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from tests.support import eventually
from workers.circuits import mark_repairs
from workers.cli import recovery as command_line

OPTIONS = BreakerOptions(
    failure_threshold=50, failure_rate=0.9, minimum_requests=40, window_calls=60, reset_timeout=0.001, permit_timeout=600.0, jitter=0.0
)
LUA = (Path(recovery.breaker.shared.__file__).parent / "lua" / "circuit.lua").read_text()
FIELDS = [*re.findall(r"'(\w+)'", LUA.partition("local FIELDS = {")[2].partition("}")[0]), "options", "service"]
GARBAGE = {
    "letters": b"letters",
    "nothing": b"",
    "no number": b"nan",
    "infinity": b"-inf",
    "below zero": b"-1",
    "a fraction": b"0.5",
    "a huge number": b"1e300",
    "many digits": b"9" * 30,
    "the largest that is told apart": b"9007199254740991",
    "the largest version": b"4503599627370495",
    "the largest count": b"99999999999999",
    "no UTF-8": b"\xff\xfe\x00\r\n",
    "JSON": b'{"a": [1]}',
    "missing": None,
}
OTHER_TYPES: dict[str, Callable[[Redis, str], object]] = {
    "string": lambda redis, key: redis.set(key, b"\xff"),
    "hash": lambda redis, key: redis.hset(key, "state", "open"),
    "list": lambda redis, key: redis.rpush(key, "x"),
    "set": lambda redis, key: redis.sadd(key, "x"),
    "zset": lambda redis, key: redis.zadd(key, {"x": 1}),
    "stream": lambda redis, key: redis.xadd(key, {"a": "b"}),
}
_names = (f"spoiled{number}" for number in count())


def half() -> float:
    """Stand for chance: Hypothesis wants that no thread draws while it does."""
    return 0.5


@dataclass
class Stage:
    """One process with a sound breaker, open, and any number of others."""

    redis: Redis
    link: FleetLink
    sound: Breaker

    def another(self, options: BreakerOptions = OPTIONS) -> Breaker:
        """Return a breaker that is shared and has something under each of its keys: it is half-open, with a probe under way."""
        breaker = Breaker(next(_names), options, self.link, draw=half)
        self.link.add(breaker)
        circuits = SharedCircuits(self.redis, "another")
        circuits.tell(breaker.name, options, [Ended("failed", 3, ok_before=9, reason="boom"), Ended("failed", 50, reason="boom")])
        circuits.half_open(breaker.name)
        circuits.admit(breaker.name, options, "somebody's")
        _, _, calls, votes = keys_of(breaker.name)
        self.redis.rpush(calls, "1000 3 2 0", "2000 1 1 0")
        self.redis.hset(key_of(breaker.name), mapping={"calls": 4, "failures": 3})
        self.redis.zadd(votes, {"host:1": 9e12})
        self.link.load(self.redis)
        assert self.link.hears(breaker)
        return breaker

    def use(self, breaker: Breaker) -> None:
        """Do all that a program does with a breaker; nothing but its own errors may come out."""
        for number in range(8):
            with suppress(ZeroDivisionError, CircuitOpen):
                breaker.call(divide, 1, number % 3)
        for order in (breaker.force_open, breaker.auto, breaker.disable, breaker.metrics_only, breaker.auto):
            order()
        with suppress(CircuitOpen):
            breaker.call(divide, 1, 1)
        assert breaker.state in set(BreakerState)
        breaker.stats()
        self.link.load(self.redis)

    def is_whole(self, *, marks: bool = True) -> None:
        """Hold that nobody else has lost anything."""
        board = RedisBreakers(self.redis)
        assert self.link.connected
        assert self.link.hears(self.sound)
        assert self.sound.state in {"open", "repairing"}
        if marks:
            assert "sound" in [view.name for view in board.views()]
            assert "sound" in board.repair(["payments"], 5.0)
            board.mend("nobody's")

    def put_right(self, breaker: Breaker) -> None:
        """Hold that a reset mends it, whatever is wrong, and that its process shares it again, closed."""
        board = RedisBreakers(self.redis)
        assert board.operate(breaker.name, BreakerOrder.RESET, "ann", "mended").state is BreakerState.CLOSED
        assert (view := board.view(breaker.name)) is not None
        assert view.state is BreakerState.CLOSED
        self.link.load(self.redis)
        assert self.link.hears(breaker)

        def is_closed() -> bool:
            with suppress(CircuitOpen):
                breaker.call(divide, 1, 1)
            return breaker.state == "closed"

        eventually(is_closed)


@pytest.fixture
def stage(redis_client: Redis) -> Iterator[Stage]:
    link = FleetLink(lambda _breaker, _reason: None)
    options = BreakerOptions(failure_threshold=1, reset_timeout=600.0, service="payments")
    sound = Breaker("sound", options, link, draw=half)
    link.add(sound)
    link.load(redis_client)
    assert link._reached.shared is not None
    link._reached.shared._chance = half
    SharedCircuits(redis_client).tell("sound", options, [Ended("failed")])
    link.load(redis_client)
    yield Stage(redis_client, link, sound)
    link.close(5.0)


def damage(redis: Redis, key: str, field: str, garbage: bytes | None) -> None:
    if garbage is None:
        redis.hdel(key, field)
    else:
        redis.hset(key, field, garbage)


@pytest.mark.parametrize("field", FIELDS)
def test_no_garbage_in_a_field_costs_more_than_its_own_breaker(stage: Stage, field: str) -> None:
    for garbage in GARBAGE.values():
        breaker = stage.another()
        damage(stage.redis, key_of(breaker.name), field, garbage)

        stage.use(breaker)

        stage.is_whole()
        stage.put_right(breaker)


@pytest.mark.parametrize("kind", OTHER_TYPES)
@pytest.mark.parametrize("place", range(4), ids=["hash", "permits", "calls", "votes"])
def test_no_other_type_under_a_key_costs_more_than_its_own_breaker(stage: Stage, place: int, kind: str) -> None:
    breaker = stage.another()
    key = keys_of(breaker.name)[place]
    stage.redis.delete(key)
    OTHER_TYPES[kind](stage.redis, key)

    stage.use(breaker)

    stage.is_whole()
    stage.put_right(breaker)


@pytest.mark.parametrize("seconds", [None, 30.0], ids=["a window of calls", "a window of seconds"])
@pytest.mark.parametrize("batch", [b"letters", b"", b"1 2 3", b"1 2 3 nan", b"9" * 30 + b" 1 1 1", b"1 99999999 1 1", b"\xff 1 1 1"])
def test_a_batch_that_cannot_be_costs_the_window_and_no_more(stage: Stage, batch: bytes, seconds: float | None) -> None:
    options = BreakerOptions(failure_threshold=None, failure_rate=0.5, window_calls=None, window_seconds=seconds, minimum_requests=6)
    circuits, calls = SharedCircuits(stage.redis), keys_of("odd")[2]
    for put in (stage.redis.lpush, stage.redis.rpush):
        circuits.tell("odd", options, [Ended("failed", 2)])
        put(calls, batch)
        circuits.tell("odd", options, [Ended("failed", 2)] * 2)
        circuits.operate("odd", "reset")

    circuits.tell("odd", options, [Ended("failed", 3)])
    assert circuits.tell("odd", options, [Ended("failed", 3)])[0].circuit.state == "open", "it counts again"
    stage.is_whole()


@pytest.mark.parametrize("score", [float("inf"), 9e300])
def test_a_permit_and_a_vote_for_ever_are_nobodys(stage: Stage, score: float) -> None:
    options = BreakerOptions(failure_threshold=1, half_open_requests=1, reset_timeout=600.0, quorum=2)
    circuits = SharedCircuits(stage.redis)
    _, permits, _, votes = keys_of("odd")
    stage.redis.zadd(votes, {"nobody": score})

    snapshot, opened = circuits.vote("odd", options, "one", 10.0, "boom")
    assert (snapshot.votes, opened) == (1, False)
    assert circuits.vote("odd", options, "two", 10.0, "boom")[1]

    circuits.half_open("odd")
    stage.redis.zadd(permits, {"nobody": score})
    assert circuits.admit("odd", options, "mine")[1].permit == "mine"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    damages=st.lists(
        st.tuples(st.sampled_from(FIELDS), st.one_of(st.sampled_from(list(GARBAGE.values())), st.binary(max_size=30))),
        min_size=1,
        max_size=4,
    ),
    batches=st.lists(st.one_of(st.binary(max_size=20), st.from_regex(rb"\A\d{1,20} \d{1,20} \d{1,20} \d{1,20}\Z")), max_size=3),
    options=st.one_of(st.none(), st.recursive(st.none() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner))),
)
def test_any_garbage_in_any_fields_costs_no_more(stage: Stage, damages: Any, batches: list[bytes], options: Any) -> None:
    breaker = stage.another()
    for field, garbage in damages:
        damage(stage.redis, key_of(breaker.name), field, garbage)
    if batches:
        stage.redis.lpush(keys_of(breaker.name)[2], *batches)
    if options is not None:
        stage.redis.hset(key_of(breaker.name), "options", json.dumps(options))

    stage.use(breaker)

    stage.is_whole()
    stage.put_right(breaker)


@pytest.mark.parametrize("name", sorted(json.loads(as_json(BreakerOptions(failure_rate=0.5, slow_call_duration=1.0, ramp=(10,))))))
def test_no_odd_option_of_a_breaker_breaks_the_platform(stage: Stage, name: str) -> None:
    board = RedisBreakers(stage.redis)
    told: dict[str, Any] = json.loads(as_json(BreakerOptions(failure_rate=0.5, slow_call_duration=1.0, ramp=(10,))))
    odds: tuple[Any, ...] = ("letters", None, [], {}, [None], -1, 1e300, True)
    for odd in odds:
        breaker = stage.another()
        stage.redis.hset(key_of(breaker.name), "options", json.dumps(told | {name: odd}))
        with suppress(BreakerSpoiled):
            for order in BreakerOrder:
                board.operate(breaker.name, order, "ann", "test")
            board.half_open(breaker.name)
            board.record(breaker.name, ok=False)
        stage.is_whole()
        stage.put_right(breaker)


def test_it_is_said_once_in_one_sentence_with_what_to_do(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    breaker = stage.another()
    key = key_of(breaker.name)
    stage.redis.hset(key, "trips", "letters")

    for _ in range(3):
        stage.use(breaker)

    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    what_to_do = f"`recovery breakers reset {breaker.name}` puts it right, or `DEL {key}`"
    assert said == [f"breaker '{breaker.name}' goes on alone: {key} has 'letters' as its trips; {what_to_do}"]
    caplog.clear()
    stage.redis.hset(key, "trips", "1")
    stage.link.load(stage.redis)
    assert stage.link.hears(breaker), "it comes back by itself when the key is right again"
    assert [record.getMessage() for record in caplog.records] == [f"breaker '{breaker.name}' is shared with the fleet again"]


def test_a_deleted_key_is_restored_from_what_the_process_remembers(stage: Stage) -> None:
    stage.redis.hset(key_of("sound"), "state", "letters")
    stage.link.load(stage.redis)
    assert not stage.link.hears(stage.sound)
    assert stage.sound.state == "open", "it goes on as it stood"

    stage.redis.delete(*keys_of("sound"))
    stage.link.load(stage.redis)

    view = RedisBreakers(stage.redis).view("sound")
    assert view is not None
    assert (view.state, view.trips, view.service) == (BreakerState.OPEN, 1, "payments")


@pytest.mark.parametrize("garbage", [b"letters", b"\xff\x00", b"", None])
def test_garbage_in_the_copy_of_the_service_is_gone_with_the_next_look(stage: Stage, garbage: bytes | None) -> None:
    damage(stage.redis, key_of("sound"), "service", garbage)
    board = RedisBreakers(stage.redis)

    stage.link.load(stage.redis)  # every 2 seconds while a program uses a breaker that is not closed

    assert stage.redis.hget(key_of("sound"), "service") == b"payments"
    assert board.repair(["payments"], 5.0) == ["sound"]
    damage(stage.redis, key_of("sound"), "service", garbage)
    board.operate("sound", BreakerOrder.RESET, "ann", "mended")
    assert stage.redis.hget(key_of("sound"), "service") == b"payments"


def test_a_reset_of_an_open_one_stays_a_reset_when_its_processes_come_back(stage: Stage) -> None:
    stage.redis.hset(key_of("sound"), "version", "letters")
    stage.link.load(stage.redis)
    board = RedisBreakers(stage.redis)

    board.operate("sound", BreakerOrder.RESET, "ann", "mended")
    stage.link.load(stage.redis)

    view = board.view("sound")
    assert view is not None
    assert (view.state, view.service, stage.sound.state) == (BreakerState.CLOSED, "payments", "closed")


@pytest.mark.parametrize("kind", [kind for kind in OTHER_TYPES if kind != "set"])
def test_a_foreign_list_of_all_breakers_costs_only_the_list(stage: Stage, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    board = RedisBreakers(stage.redis)
    stage.redis.delete(BREAKERS)
    OTHER_TYPES[kind](stage.redis, BREAKERS)

    for _ in range(2):
        stage.use(stage.another())

    stage.is_whole(marks=False)
    assert board.view("sound") is not None
    for ask in (board.views, lambda: board.repair(["payments"], 5.0), lambda: board.mend("payments")):
        with pytest.raises(StoreUnavailable, match=f"cannot be listed: {BREAKERS} is no list of them .*; after `DEL {BREAKERS}`"):
            ask()
    assert caplog.text.count(f"cannot list or mark breakers: {BREAKERS} is no list of them") == 1

    stage.redis.delete(BREAKERS)
    stage.link.load(stage.redis)
    stage.is_whole()


def test_names_that_nobody_can_read_cost_no_other(stage: Stage) -> None:
    stage.redis.sadd(BREAKERS, b"\xff\xfe", b"", b"a}{b", b"\x00")

    stage.is_whole()


def test_a_foreign_history_costs_only_the_history(stage: Stage, redis_client: Redis) -> None:
    redis_client.delete(BREAKER_HISTORY)
    redis_client.set(BREAKER_HISTORY, "no history")

    stage.use(stage.another())

    stage.is_whole()
    redis_client.delete(BREAKER_HISTORY)
    RedisBreakers(redis_client).operate("sound", BreakerOrder.RESET, "ann", "mended")
    assert redis_client.xlen(BREAKER_HISTORY) == 1


@pytest.mark.parametrize("field", ["name", "state", "shown", "mode", "version", "now", "trips", "retry_at", "in_a_row", "reason"])
def test_no_garbage_that_is_pushed_is_taken_in(stage: Stage, field: str) -> None:
    listener = stage.redis.pubsub()  # type: ignore[no-untyped-call]
    listener.subscribe(BREAKER_CHANGED)
    RedisBreakers(stage.redis).repair(["payments"], 5.0)
    messages = iter(listener.listen())
    pushed = next(message["data"] for message in messages if message["type"] == "message")
    listener.close()
    told: dict[str, Any] = json.loads(pushed)
    odds: tuple[Any, ...] = ("letters", None, [], {"a": 1}, -1, 1e300, float("nan"), "²", "9" * 16, "9" * 30, "9" * 5_000, True)
    for garbage in odds:
        stage.link.hear(json.dumps(told | {field: garbage}).encode(), stage.redis)
    stage.link.hear(b"[" * 100_000, stage.redis)
    stage.link.hear(b"\xff", stage.redis)

    stage.use(stage.another())
    RedisBreakers(stage.redis).operate("sound", BreakerOrder.DISABLED, "ann", "test")
    stage.link.load(stage.redis)
    assert stage.sound.state == "disabled", "the next true news is newer"


@pytest.mark.parametrize(
    ("field", "largest"), [("version", 2**52 - 1), ("trips", 10**14 - 1), ("mode_at", 10**14 - 1), ("retry_at", 10**14 - 1)]
)
def test_the_largest_that_is_taken_in_spoils_nothing_when_it_comes_back_and_cannot_grow(stage: Stage, field: str, largest: int) -> None:
    breaker = stage.another()
    stage.redis.hset(key_of(breaker.name), field, largest)
    stage.link.load(stage.redis)
    stage.use(breaker)

    for _ in range(3):
        stage.put_right(breaker)
        stage.use(breaker)
        assert stage.link.hears(breaker), "what the process remembers is sound"
    stage.is_whole()


@pytest.mark.parametrize(("field", "limit"), [("version", str(2**52)), ("trips", 10**14), ("mode_at", 10**14)])
def test_what_the_scripts_refuse_is_not_taken_in_from_a_message_either(stage: Stage, field: str, limit: object) -> None:
    said = stage.redis.pubsub()  # type: ignore[no-untyped-call]
    said.subscribe(BREAKER_CHANGED)
    RedisBreakers(stage.redis).operate("sound", BreakerOrder.FORCED_OPEN, "ann", "test")
    pushed = next(message["data"] for message in said.listen() if message["type"] == "message")
    said.close()
    stage.link.hear(json.dumps(json.loads(pushed) | {field: limit}).encode(), stage.redis)

    for _ in range(2):
        stage.link.load(stage.redis)
        assert stage.link.hears(stage.sound)
    assert stage.sound.state == "forced_open"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valkey_url: str) -> Iterator[SqlStore]:
    monkeypatch.setenv("RECOVERY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("RECOVERY_REDIS_URL", valkey_url)
    url = f"sqlite:///{tmp_path / 'history.db'}"
    migrate(url)
    store = SqlStore.open(url)
    yield store
    dispose(store.engine)


def test_the_command_line_says_what_is_wrong_and_a_reset_puts_it_right(stage: Stage, store: SqlStore) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(command_line, ["breakers", *arguments], prog_name="recovery")
        assert "Traceback" not in done.output
        return done.exit_code, done.output

    key = key_of("odd")
    SharedCircuits(stage.redis).declare("odd", OPTIONS)
    for spoil, what in (
        (lambda: stage.redis.hset(key, "streak", b"\xff"), f"{key} has '?' as its streak"),
        (lambda: stage.redis.delete(key) and stage.redis.set(key, "foreign"), f"{key} is a string and no hash"),
        (lambda: stage.redis.hset(key, "options", "[]"), f"{key} has '[]' as its options"),
        (lambda: stage.redis.hset(key, "retry_at", "9" * 30), f"{key} has '{'9' * 30}' as its retry_at"),
    ):
        spoil()
        code, text = run()
        assert (code, "sound" in text) == (0, True), text
        for command in ("show", "force-open", "auto"):
            code, text = run(command, "odd")
            assert code == 5
            assert text.replace("\n", " ").startswith(f"Error: breaker 'odd': {what}; `recovery breakers reset odd` puts it right")
        assert mark_repairs(RedisBreakers(stage.redis), store) == []
        assert run("reset", "odd") == (0, "Breaker odd: closed, and on its own again. It was spoiled.\n")
        assert run("show", "odd")[0] == 0

    stage.redis.delete(BREAKERS)
    stage.redis.set(BREAKERS, "foreign")
    code, text = run()
    assert (code, text.startswith("Error: the breakers cannot be listed: ")) == (5, True)


def test_a_whole_client_goes_on_beside_nonsense(redis_client: Redis, valkey_url: str, tmp_path: Path) -> None:
    with RecoveryClient(valkey_url, spool=tmp_path) as client:
        client._watch._poll = 0.05
        odd, sound = client.breaker("odd", failure_threshold=2, reset_timeout=600.0), client.breaker("sound", failure_threshold=1)
        eventually(lambda: client._link.hears(odd) and client._link.hears(sound))
        eventually(lambda: redis_client.hget(key_of("odd"), "version"))
        redis_client.hset(key_of("odd"), mapping={"version": "nan", "reason": b"\xff"})
        eventually(lambda: not client._link.hears(odd))

        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                odd.call(lambda: 1 / 0)
        assert odd.state == "open", "it judges by itself"
        RedisBreakers(redis_client).operate("sound", BreakerOrder.FORCED_OPEN, "ann", "test")
        eventually(lambda: sound.state == "forced_open")
        redis_client.delete(key_of("odd"))
        eventually(lambda: client._link.hears(odd))
        eventually(lambda: (view := RedisBreakers(redis_client).view("odd")) is not None and view.state is BreakerState.OPEN)
        assert client.flags.freshness == "fresh"
