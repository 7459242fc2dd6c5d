"""Standings of rules are moved on by one judge at a time, what runs out is told by one, and what is audited is an event as well."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from recovery.models import Degradation, Event, Level, RuleStanding
from recovery.ports import Store
from recovery.store.memory import MemoryStore
from recovery.store.sql import SqlStore
from tests.rows import at

FIRST = RuleStanding("weak", "shop", since=at(1))
PUT = Degradation(
    "shop",
    Level.LIMITED,
    at(0.1),
    at(60.123457),
    features_off=("search",),
    capabilities={"workers": 30},
    reason="slow disks",
    recovery_id="r-1",
    fence=1_800_000_000_000,
    layer="manual",
    ramp=(10, 50),
    ramp_stage=2.5,
    by="ann",
)


def changed(number: int) -> Event:
    return Event("degradation:changed", at(number), "shop", None, {"change": "put", "by": "rule weak"})


def trail(store: Store) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the names of the events, and action and actor of the audit rows."""
    if isinstance(store, MemoryStore):
        return [event.name for event in store.events], [(row.action, row.actor) for row in store.audits]
    assert isinstance(store, SqlStore)
    with store.engine.connect() as connection:
        events = [row[0] for row in connection.exec_driver_sql("SELECT name FROM events ORDER BY id")]
        return events, [(row[0], row[1]) for row in connection.exec_driver_sql("SELECT action, actor FROM audit ORDER BY id")]


def test_a_standing_comes_back_as_it_was_left(store: Store) -> None:
    assert store.rule_standings() == {}

    assert store.move_rule(None, FIRST)
    kept = store.rule_standings()["weak"]
    after = replace(kept, in_force=True, since=None, until=at(900), overruled_by="ann")
    assert store.move_rule(kept, after)

    assert kept == replace(FIRST, version=1)
    assert store.rule_standings() == {"weak": replace(after, version=2)}


def test_whoever_comes_second_changes_and_tells_nothing(store: Store) -> None:
    assert store.move_rule(None, FIRST, [changed(1)])
    kept = store.rule_standings()["weak"]

    assert not store.move_rule(None, FIRST, [changed(2)])
    assert store.move_rule(kept, replace(kept, in_force=True), [changed(3)])
    assert not store.move_rule(kept, replace(kept, in_force=True), [changed(4)])
    assert not store.move_rule(kept, None, [changed(5)])

    assert trail(store) == (["degradation:changed"] * 2, [("degradation_changed", "rule weak")] * 2)


def test_a_forgotten_rule_begins_anew(store: Store) -> None:
    store.move_rule(None, FIRST)

    assert store.move_rule(store.rule_standings()["weak"], None)

    assert store.rule_standings() == {}
    assert store.move_rule(None, FIRST)


def test_a_standing_may_begin_or_go_on_at_a_higher_version(store: Store) -> None:
    assert store.move_rule(None, replace(FIRST, version=41))
    kept = store.rule_standings()["weak"]
    assert kept.version == 42

    assert store.move_rule(kept, replace(kept, version=99))

    assert store.rule_standings()["weak"].version == 100
    assert not store.move_rule(kept, kept), "what was seen before counts, not what it becomes"


def test_of_many_judges_at_once_one_moves_it(store: Store) -> None:
    store.move_rule(None, FIRST)
    kept = store.rule_standings()["weak"]

    with ThreadPoolExecutor(8) as pool:
        moved = list(pool.map(lambda number: store.move_rule(kept, replace(kept, in_force=True), [changed(number)]), range(8)))

    assert sorted(moved) == [False] * 7 + [True]
    assert len(trail(store)[0]) == 1


def test_what_is_audited_has_its_actor_and_is_an_event_too(store: Store) -> None:
    store.record_audited([changed(1), changed(2)])
    store.record_audited([])

    assert trail(store) == (["degradation:changed"] * 2, [("degradation_changed", "rule weak")] * 2)


def test_what_is_put_is_kept_per_service_and_layer_until_it_is_ended(store: Store) -> None:
    other = replace(PUT, service="*", layer="throttle")
    renewed = replace(PUT, until=at(90))
    store.record_degraded(PUT, [changed(1)], stays=True)
    store.record_degraded(other, [changed(2)], stays=True)
    assert store.degraded() == [other, PUT]

    store.record_degraded(renewed, [changed(3)], stays=True)
    assert store.degraded() == [other, renewed]

    store.record_degraded(replace(renewed, fence=PUT.fence + 1), [changed(4)], stays=False)
    assert store.degraded() == [other]
    assert trail(store) == (["degradation:changed"] * 4, [("degradation_changed", "rule weak")] * 4)


def test_who_is_late_neither_replaces_nor_forgets_what_is_newer(store: Store) -> None:
    older = replace(PUT, fence=PUT.fence - 1)
    store.record_degraded(PUT, [], stays=True)

    store.record_degraded(older, [changed(1)], stays=True)
    store.record_degraded(older, [changed(2)], stays=False)
    assert not store.lapse_degraded(older, [changed(3)], at(100))

    assert store.degraded() == [PUT]
    assert len(trail(store)[0]) == 2, "what was done is told all the same"


def test_what_runs_out_is_told_once_and_not_before_it_is_over(store: Store) -> None:
    store.record_degraded(PUT, [], stays=True)

    assert not store.lapse_degraded(PUT, [changed(1)], at(60))
    assert store.lapse_degraded(PUT, [changed(1)], PUT.until)
    assert not store.lapse_degraded(PUT, [changed(1)], at(61))

    assert store.degraded() == []
    assert trail(store) == (["degradation:changed"], [("degradation_changed", "rule weak")])


def test_what_was_renewed_meanwhile_does_not_lapse(store: Store) -> None:
    store.record_degraded(PUT, [], stays=True)
    (seen,) = store.degraded()
    store.record_degraded(replace(PUT, until=at(120)), [], stays=True)

    assert not store.lapse_degraded(seen, [changed(1)], at(61))

    assert trail(store) == ([], [])


def test_of_many_who_see_at_once_that_it_is_over_one_tells_it(store: Store) -> None:
    store.record_degraded(PUT, [], stays=True)

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda number: store.lapse_degraded(PUT, [changed(number)], at(61)), range(8)))

    assert sorted(told) == [False] * 7 + [True]
    assert len(trail(store)[0]) == 1
