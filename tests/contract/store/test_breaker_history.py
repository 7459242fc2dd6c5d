"""The history of circuit breakers has each change once, and its event with it."""

from dataclasses import replace

from recovery.models import BreakerChange
from recovery.ports import Store
from recovery.store.memory import MemoryStore
from recovery.store.sql import SqlStore
from tests.rows import at


def change(number: int, before: str, after: str, breaker: str = "gateway") -> BreakerChange:
    return BreakerChange(f"{number}-0", breaker, "payments", at(number), before, after, "boom", number, 1, "host:1")


def event_names(store: Store) -> list[str]:
    if isinstance(store, MemoryStore):
        return [event.name for event in store._tables.events]
    assert isinstance(store, SqlStore)
    with store.engine.connect() as connection:
        return [row[0] for row in connection.exec_driver_sql("SELECT name FROM events ORDER BY id")]


def test_changes_come_back_newest_first_and_by_breaker(store: Store) -> None:
    changes = [change(1, "closed", "open"), change(2, "open", "half_open"), change(3, "closed", "open", "other")]

    assert store.record_changes(changes) == 3

    assert store.breaker_changes("gateway", 10) == [changes[1], changes[0]]
    assert store.breaker_changes("gateway", 1) == [changes[1]]
    assert store.breaker_changes("nobody", 10) == []


def test_what_is_told_twice_is_there_once_with_one_event(store: Store) -> None:
    first, second = change(1, "closed", "open"), change(2, "open", "half_open")
    assert store.record_changes([first]) == 1

    assert store.record_changes([first, second, second]) == 1
    assert store.record_changes([]) == 0

    assert store.breaker_changes("gateway", 10) == [second, first]
    assert event_names(store) == ["circuit:open", "circuit:half-open"]


def test_two_breakers_may_share_a_moment_of_the_stream(store: Store) -> None:
    one = change(1, "closed", "open")

    assert store.record_changes([one, replace(one, breaker="other")]) == 2


def test_only_steps_between_open_half_open_and_closed_are_events(store: Store) -> None:
    steps = [
        ("closed", "open"),
        ("open", "repairing"),
        ("repairing", "half_open"),
        ("half_open", "closed"),
        ("closed", "metrics_only"),
        ("metrics_only", "would_open"),
        ("metrics_only", "forced_open"),
        ("forced_open", "closed"),
        ("closed", "disabled"),
    ]

    store.record_changes([change(number, before, after) for number, (before, after) in enumerate(steps)])

    assert event_names(store) == ["circuit:open", "circuit:half-open", "circuit:closed", "circuit:open", "circuit:closed"]
    assert len(store.breaker_changes("gateway", 100)) == len(steps)
