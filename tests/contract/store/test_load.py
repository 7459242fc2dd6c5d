"""How much is under way, and that no more begins than the quota allows, whoever tries at the same time."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from recovery.models import Kind, Load, Quota, Recovery, RecoveryState, Severity
from recovery.ports import Store
from recovery.store.sql import SqlStore
from tests.rows import at, recovery


def opened(store: Store, service: str, **fields: Any) -> Recovery:
    row = recovery(service, **fields)
    store.open_recovery(row, None, [], [])
    return row


def begin(store: Store, row: Recovery, quota: Quota | None, moment: float = 1.0) -> Recovery | None:
    after = replace(row, state=RecoveryState.IN_PROGRESS, started_at=at(moment))
    return store.transition(row, after, quota=quota)


def test_load_counts_what_is_open_at_work_begun_and_more_urgent(store: Store) -> None:
    me = opened(store, "me", held_by="budget", created_at=at(5))
    opened(store, "graver", held_by="budget", severity=Severity.CRITICAL, created_at=at(9))
    opened(store, "older", held_by="budget", created_at=at(4))
    opened(store, "younger", held_by="budget", created_at=at(6))
    opened(store, "milder", held_by="budget", severity=Severity.LOW, created_at=at(1))
    opened(store, "held-by-other", held_by="cooldown", severity=Severity.CRITICAL)
    opened(store, "by-hand", kind=Kind.MANUAL, held_by="budget", severity=Severity.CRITICAL)
    opened(store, "at-work", state=RecoveryState.IN_PROGRESS, started_at=at(20))
    opened(store, "at-work-for-long", state=RecoveryState.IN_PROGRESS, started_at=at(2), kind=Kind.EMERGENCY)
    opened(store, "closed", state=RecoveryState.SUCCEEDED, started_at=at(30), held_by="budget", severity=Severity.CRITICAL)

    assert store.load(me, "budget", at(20)) == Load(in_progress=2, open=7, begun=2, ahead=3)


def test_load_of_an_empty_platform_is_nothing(store: Store) -> None:
    assert store.load(recovery(), "budget", at(0)) == Load()


def test_the_most_urgent_are_woken_and_counted(store: Store) -> None:
    rows = [opened(store, f"s{number}", held_by="budget", created_at=at(number), due_at=at(900)) for number in range(4)]
    grave = opened(store, "grave", held_by="budget", created_at=at(9), due_at=at(900), severity=Severity.CRITICAL)
    opened(store, "other", held_by="cooldown", due_at=at(900), severity=Severity.CRITICAL)

    assert store.wake_held("budget", 3, at(10)) == 3

    assert set(store.due(at(10), 10)) == {grave.id, rows[0].id, rows[1].id}
    assert store.recovery(rows[2].id) == rows[2]
    assert store.wake_held("nobody", 3, at(10)) == 0


def test_waking_does_not_put_off_what_is_due_already(store: Store) -> None:
    row = opened(store, "shop", held_by="budget", due_at=at(2))

    assert store.wake_held("budget", 5, at(10)) == 1
    assert store.recovery(row.id) == row


def test_a_wake_up_survives_a_transition_from_before(store: Store) -> None:
    row = opened(store, "shop", held_by="budget", due_at=at(2))
    store.wake_held("budget", 1, at(1))

    store.transition(row, replace(row, due_at=at(1)))
    waited = store.recovery(row.id)
    assert waited is not None
    store.wake_held("budget", 1, at(0.5))
    store.transition(waited, replace(waited, due_at=at(600)))

    assert store.due(at(0.5), 10) == [row.id]


@pytest.mark.parametrize(
    ("quota", "allowed"),
    [
        (None, True),
        (Quota(concurrent=3), True),
        (Quota(concurrent=2), False),
        (Quota(concurrent=9, actions=4, since=at(0)), True),
        (Quota(concurrent=9, actions=3, since=at(0)), False),
        (Quota(concurrent=9, actions=3, since=at(6)), True),
        (Quota(concurrent=9, actions=1, since=at(6)), False),
        (Quota(concurrent=9, actions=0), True),
    ],
)
def test_nothing_begins_when_the_quota_is_used_up(store: Store, quota: Quota | None, allowed: bool) -> None:
    opened(store, "a", state=RecoveryState.IN_PROGRESS, started_at=at(0))
    opened(store, "b", state=RecoveryState.IN_PROGRESS, started_at=at(6))
    opened(store, "c", state=RecoveryState.SUCCEEDED, started_at=at(5), due_at=None)
    me = opened(store, "me")

    begun = begin(store, me, quota, 7)

    assert (begun is not None) is allowed
    assert store.recovery(me.id) == (begun or me)


def test_a_recovery_does_not_stand_in_its_own_way(store: Store) -> None:
    me = opened(store, "me", state=RecoveryState.IN_PROGRESS, started_at=at(3))

    assert begin(store, me, Quota(concurrent=1, actions=1, since=at(0))) is not None


@pytest.mark.parametrize("quota", [Quota(concurrent=3), Quota(concurrent=99, actions=3, since=at(0))])
def test_of_many_that_begin_at_once_no_more_than_the_quota_do(store: Store, quota: Quota) -> None:
    rows = [opened(store, f"s{number}") for number in range(12)]

    with ThreadPoolExecutor(12) as pool:
        begun = list(pool.map(lambda row: begin(store, row, quota), rows))

    assert sum(result is not None for result in begun) == 3
    assert sum(row.state is RecoveryState.IN_PROGRESS for row in store.open_recoveries()) == 3


def test_load_and_waking_are_cheap_with_a_thousand_open_recoveries(sql_store: SqlStore) -> None:
    for number in range(1_000):
        opened(sql_store, f"s{number}", held_by="budget", created_at=at(number), due_at=at(9_000))
    me = recovery("me", created_at=at(2_000))
    sql_store.load(me, "budget", at(0))

    began = time.perf_counter()
    for _ in range(10):
        assert sql_store.load(me, "budget", at(0)).ahead == 1_000
        assert sql_store.wake_held("budget", 10, at(1)) == 10
    took = (time.perf_counter() - began) / 10

    assert took < 0.5, f"one look took {took * 1000:.0f} ms; a tick makes up to a hundred"
