"""The platform's part of circuit breakers: each change reaches the database once, and breakers under recovery show it."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from redis import Redis

from recovery.breaker import BreakerOptions, RedisBreakers
from recovery.breaker.fleet import Ended
from recovery.breaker.shared import BREAKER_HISTORY, SharedCircuits
from recovery.errors import StoreUnavailable
from recovery.models import BreakerChange, BreakerState, RecoveryState
from recovery.store.memory import MemoryStore
from tests.rows import failure, recovery
from tests.support import eventually
from workers import streams
from workers.circuits import CircuitHistory, mark_repairs

OPTIONS = BreakerOptions(failure_threshold=1, service="payments")


class Brittle(MemoryStore):
    """A store that meets `trouble` before or after it has committed."""

    def __init__(self, before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.before, self.after = before, after

    def record_changes(self, changes: Sequence[BreakerChange]) -> int:
        if changes:
            self.before()
        new = super().record_changes(changes)
        if changes:
            self.after()
        return new


class KilledError(BaseException):
    """The process ends here."""


def once(error: BaseException) -> Callable[[], None]:
    left = [error]

    def raise_once() -> None:
        if left:
            raise left.pop()

    return raise_once


def trip(client: Redis, name: str = "gateway") -> None:
    SharedCircuits(client, "host:1").tell(name, OPTIONS, [Ended("failed", reason="boom")])


def test_changes_reach_the_store_and_are_acknowledged(redis_client: Redis) -> None:
    store = MemoryStore()
    drain = CircuitHistory(redis_client, store, "worker")
    trip(redis_client)
    drain.join()
    drain.join()

    assert drain.turn() == 1
    RedisBreakers(redis_client).half_open("gateway")
    assert drain.turn() == 1

    newest, first = store.breaker_changes("gateway", 10)
    assert (first.before, first.after, first.service, first.by, first.trips) == ("closed", "open", "payments", "host:1", 1)
    assert (newest.before, newest.after, newest.by) == ("open", "half_open", "platform")
    assert redis_client.xpending(BREAKER_HISTORY, "history")["pending"] == 0
    assert redis_client.xlen(BREAKER_HISTORY) == 2, "others may read the stream, too"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_around_the_commit_loses_nothing_and_doubles_nothing(redis_client: Redis, moment: str) -> None:
    store = Brittle(**{moment: once(KilledError())})
    trip(redis_client)
    first = CircuitHistory(redis_client, store, "dead")
    first.join()
    with pytest.raises(KilledError):
        first.turn()

    stop = threading.Event()
    thread = threading.Thread(target=CircuitHistory(redis_client, store, "dead").run, args=[stop])
    thread.start()
    try:
        eventually(lambda: redis_client.xpending(BREAKER_HISTORY, "history")["pending"] == 0)
    finally:
        stop.set()
        thread.join(30)

    assert [change.after for change in store.breaker_changes("gateway", 10)] == ["open"]


def test_what_a_dead_worker_left_is_taken_over(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "CLAIM_IDLE", 0)
    store = Brittle(before=once(KilledError()))
    trip(redis_client)
    dead = CircuitHistory(redis_client, store, "dead")
    dead.join()
    with pytest.raises(KilledError):
        dead.turn()

    CircuitHistory(redis_client, store, "alive").turn()

    assert len(store.breaker_changes("gateway", 10)) == 1


def test_a_database_that_is_away_is_tried_again(redis_client: Redis) -> None:
    store = Brittle(before=once(StoreUnavailable("away")))
    trip(redis_client)
    stop = threading.Event()
    thread = threading.Thread(target=CircuitHistory(redis_client, store, "worker").run, args=[stop])
    thread.start()
    try:
        eventually(lambda: store.breaker_changes("gateway", 10))
    finally:
        stop.set()
        thread.join(30)


def test_an_entry_that_tells_of_nothing_is_left_out(redis_client: Redis, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    drain = CircuitHistory(redis_client, store, "worker")
    drain.join()
    redis_client.xadd(BREAKER_HISTORY, {"name": "gateway"})
    trip(redis_client)

    assert drain.turn() == 2

    assert len(store.breaker_changes("gateway", 10)) == 1
    assert "tells of no change of a breaker" in caplog.text


def test_one_change_that_cannot_be_stored_holds_up_no_other(redis_client: Redis, caplog: pytest.LogCaptureFixture) -> None:
    class Choosy(MemoryStore):
        def record_changes(self, changes: Sequence[BreakerChange]) -> int:
            if any(change.breaker == "odd" for change in changes):
                raise ValueError("no")
            return super().record_changes(changes)

    store = Choosy()
    drain = CircuitHistory(redis_client, store, "worker")
    drain.join()
    for name in ("one", "odd", "two"):
        trip(redis_client, name)

    assert drain.turn() == 3

    assert [len(store.breaker_changes(name, 9)) for name in ("one", "odd", "two")] == [1, 0, 1]
    assert "a change of breaker 'odd' cannot be stored" in caplog.text


def test_a_redis_that_comes_back_empty_is_drained_again(redis_client: Redis) -> None:
    store = MemoryStore()
    stop = threading.Event()
    thread = threading.Thread(target=CircuitHistory(redis_client, store, "worker").run, args=[stop])
    thread.start()
    try:
        trip(redis_client, "one")
        eventually(lambda: store.breaker_changes("one", 9))
        redis_client.flushdb()
        trip(redis_client, "two")
        eventually(lambda: store.breaker_changes("two", 9))
    finally:
        stop.set()
        thread.join(30)


def test_breakers_of_a_service_are_marked_while_its_recovery_is_in_progress(redis_client: Redis) -> None:
    store, board = MemoryStore(), RedisBreakers(redis_client)
    trip(redis_client)
    pending = recovery(service="payments")
    store.open_recovery(pending, failure(service="payments"), [], [])
    assert mark_repairs(board, store) == []

    started = store.transition(pending, replace(pending, state=RecoveryState.IN_PROGRESS, attempt=1))
    assert started is not None
    assert mark_repairs(board, store) == ["gateway"]
    assert mark_repairs(board, store) == ["gateway"], "it is renewed"
    assert [view.state for view in board.views()] == [BreakerState.REPAIRING]

    store.transition(started, replace(started, state=RecoveryState.SUCCEEDED))
    assert mark_repairs(board, store) == []
    assert [view.state for view in board.views()] == [BreakerState.OPEN]
