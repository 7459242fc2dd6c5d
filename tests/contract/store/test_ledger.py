"""Decisions, events and the audit trail: what repeats is counted, what changes is added."""

from typing import Any

import pytest
from sqlalchemy import select

from recovery.models import Choice, Decision, JsonObject, RecoveryState
from recovery.ports import Refusal, Store
from recovery.store import schema
from recovery.store.memory import MemoryStore
from recovery.store.refusals import ROWS_PER_WINDOW
from recovery.store.sql import SqlStore
from tests.rows import at, decision, event, failure, recovery


def noted(store: Store) -> list[tuple[str, int, Any, Any]]:
    """Return guard, repeats, last time and `until` of every decision, oldest first."""
    if isinstance(store, MemoryStore):
        return [(row.decision.guard, row.repeats, row.last_at, row.decision.until) for row in store._tables.decisions]
    assert isinstance(store, SqlStore)
    table = schema.decisions.c
    with store.engine.connect() as connection:
        rows = connection.execute(select(table.guard, table.repeats, table.last_at, table.until).order_by(table.id))
        return [tuple(row) for row in rows]


def event_names(store: Store) -> list[str]:
    if isinstance(store, MemoryStore):
        return [row.name for row in store.events]
    assert isinstance(store, SqlStore)
    with store.engine.connect() as connection:
        return list(connection.execute(select(schema.events.c.name).order_by(schema.events.c.id)).scalars())


def audit_rows(store: Store) -> list[tuple[str, str, JsonObject, Any]]:
    if isinstance(store, MemoryStore):
        return [(row.action, row.actor, row.detail, row.at) for row in store.audits]
    assert isinstance(store, SqlStore)
    table = schema.audit.c
    with store.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(table.action, table.actor, table.detail, table.at).order_by(table.id))]


def test_a_repeated_decision_is_counted_not_added(store: Store) -> None:
    for second in range(5):
        store.record(
            [decision(at=at(second), reason=f"cooldown for {12.5 - second} s", until=at(12 + second), facts={"left": 12.5 - second})]
        )

    assert noted(store) == [("cooldown", 4, at(4), at(16))]


@pytest.mark.parametrize(
    "change",
    [
        {"choice": Choice.SUPPRESS},
        {"guard": "attempt_cap"},
        {"strategy": "restart"},
        {"recovery_id": "r-1"},
        {"reason": "the lock is held"},
    ],
)
def test_a_decision_that_differs_is_added(store: Store, change: dict[str, Any]) -> None:
    store.record([decision()])
    store.record([decision(at=at(1), **change)])

    assert [repeats for _, repeats, _, _ in noted(store)] == [0, 0]


def test_only_the_newest_decision_of_the_same_service_is_a_repeat(store: Store) -> None:
    first, second = decision(), decision(guard="attempt_cap")
    for made in (first, second, first):
        store.record([made])
    store.record([decision("cart")])
    store.record([first])

    assert [(guard, repeats) for guard, repeats, _, _ in noted(store)] == [
        ("cooldown", 0),
        ("attempt_cap", 0),
        ("cooldown", 1),
        ("cooldown", 0),
    ]


def test_a_batch_repeats_as_a_whole_or_not_at_all(store: Store) -> None:
    batch = [decision(guard="cooldown", strategy="restart"), decision(guard="refused", strategy="degrade"), decision("cart")]
    store.record(batch)
    store.record(batch)
    store.record([batch[1], batch[0]])

    assert [(guard, repeats) for guard, repeats, _, _ in noted(store)] == [
        ("cooldown", 1),
        ("refused", 1),
        ("cooldown", 1),
        ("refused", 0),
        ("cooldown", 0),
    ]


def test_a_transition_counts_repeats_too(store: Store) -> None:
    opened = recovery()
    store.open_recovery(opened, failure(), [], [])
    waiting = decision(recovery_id=opened.id)
    current = store.transition(opened, opened, decisions=[waiting])
    assert current is not None

    store.transition(current, current, decisions=[waiting])

    assert [(guard, repeats) for guard, repeats, _, _ in noted(store)] == [("cooldown", 1)]


def test_merging_notes_one_decision_per_fingerprint_and_recovery(store: Store) -> None:
    opened = recovery()
    store.open_recovery(opened, failure(), [decision(guard="planner", choice=Choice.ACT)], [])
    for second, fingerprint in enumerate(["a", "b", "a", "a"], start=1):
        store.open_recovery(recovery(created_at=at(second)), failure(fingerprint=fingerprint), [decision(guard="never")], [event("never")])

    assert [(guard, repeats, last) for guard, repeats, last, _ in noted(store)] == [
        ("planner", 0, None),
        ("one_open_recovery", 2, at(4)),
        ("one_open_recovery", 0, None),
    ]
    assert event_names(store) == []


def test_merging_into_a_quiet_recovery_says_until_when(store: Store) -> None:
    store.open_recovery(recovery(state=RecoveryState.FAILED, quiet_until=at(60)), failure(), [], [])
    store.open_recovery(recovery(created_at=at(1)), failure(), [], [])

    assert noted(store) == [("quiet_period", 0, None, at(60))]


def test_a_duplicate_notes_nothing(store: Store) -> None:
    report = failure()
    store.open_recovery(recovery(), report, [], [])
    store.open_recovery(recovery(), report, [decision()], [event()])

    assert noted(store) == []
    assert event_names(store) == []


def test_events_keep_their_order_and_the_audit_trail_its_details(store: Store) -> None:
    store.record(events=[event("one"), event("two", service=None, data={"n": [1, {"deep": None}]})])
    store.record(events=[event("three")])
    store.audit("report_refused", "client", {"why": "unknown service", "port": 80}, at(1))

    assert event_names(store) == ["one", "two", "three"]
    assert audit_rows(store) == [("report_refused", "client", {"why": "unknown service", "port": 80}, at(1))]


def test_characters_that_no_database_takes_do_not_lose_a_report(store: Store) -> None:
    poisoned = failure(message="a\0b", details={"k\0": ["\0", {"x": "\0y"}]}, stack="\0")
    opened = recovery(message="pa\ud800th \0", reason="\udcff")

    accepted = store.open_recovery(opened, poisoned, [Decision("shop", Choice.ACT, "g", "\0\ud800", at(0), facts={"f": "\ud800"})], [])
    store.audit("refused", "\0", {"value": float("nan"), "text": "\ud800\0"}, at(0))

    found, stored = store.latest_failure(opened.id), store.recovery(opened.id)
    assert accepted.recovery.id == opened.id
    assert found is not None
    assert found.message in {"a\0b", "a\ufffdb"}
    assert stored is not None
    assert stored.message.startswith("pa")


def refusal(**fields: Any) -> Refusal:
    values: dict[str, Any] = {"actor": "stream", "code": "SERVICE_NOT_FOUND", "reason": "no service 'x'", "at": at(0), "service": "x"}
    return Refusal(**values | fields)


def test_equal_refusals_within_a_minute_share_one_row(store: Store) -> None:
    store.refuse([refusal(at=at(second)) for second in range(3)])
    store.refuse([refusal(at=at(59)), refusal(at=at(59), reason="another"), refusal(at=at(59), actor="report")])
    store.refuse([])

    told = [(action, actor, detail["reason"], detail["times"], moment) for action, actor, detail, moment in audit_rows(store)]
    assert told == [
        ("report_refused", "stream", "no service 'x'", 4, at(2)),
        ("report_refused", "stream", "another", 1, at(59)),
        ("report_refused", "report", "no service 'x'", 1, at(59)),
    ]
    assert audit_rows(store)[0][2]["last_at"] == at(59).isoformat()


def test_a_minute_later_a_refusal_has_a_row_of_its_own(store: Store) -> None:
    store.refuse([refusal(report="{")])
    store.refuse([refusal(at=at(60))])

    assert [detail.get("report") for _, _, detail, _ in audit_rows(store)] == ["{", None]


def test_a_flood_of_different_refusals_does_not_fill_the_disk(store: Store) -> None:
    for batch in range(4):
        store.refuse([refusal(service=f"guess-{batch}-{number}", at=at(batch)) for number in range(500)])
    store.refuse([refusal(service="guess-0-0", at=at(5))])

    rows = audit_rows(store)
    assert len(rows) == ROWS_PER_WINDOW + 1
    assert rows[0][2]["times"] == 2
    assert rows[-1][2]["times"] == 2000 - ROWS_PER_WINDOW
    assert rows[-1][2]["code"] == "TOO_MANY_REFUSALS"


def test_refusals_of_a_clock_that_ran_ahead_do_not_swallow_the_present_ones(store: Store) -> None:
    store.refuse([refusal(at=at(300))])
    store.refuse([refusal(at=at(0))])

    assert [detail["times"] for _, _, detail, _ in audit_rows(store)] == [1, 1]
