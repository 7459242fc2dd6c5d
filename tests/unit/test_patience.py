"""What waits its turn, comes late or is kept quiet: nothing is starved, swallowed, repeated without end or ended too early."""

from datetime import timedelta
from unittest.mock import patch

import pytest

from recovery.errors import StoreUnavailable
from recovery.models import Category, CheckState, Kind, Mitigation, Outcome, RecoveryState, Status, fingerprint_of, new_id
from recovery.ports import Execute
from recovery.store.memory import MemoryStore
from tests.rows import T0
from tests.rows import recovery as row
from tests.world import World


def crowd(world: World, size: int) -> list[str]:
    """Open `size` recoveries, all of them more severe and older than any that comes later, all due and all waiting."""
    names = [f"held-{number}" for number in range(size)]
    web = world.fleet.services["web"]
    services = {name: web.model_copy(update={"name": name}) for name in names}
    world.fleet = world.fleet.model_copy(update={"services": {**world.fleet.services, **services}})
    world.see("db", Status.UNHEALTHY)
    for name in names:
        world.desk.report(
            {"service": name, "severity": "critical", "category": "service_unavailable", "occurred_at": world.now.isoformat()}
        )
    return names


def test_a_crowd_that_waits_does_not_starve_the_one_that_could_go_on() -> None:
    world = World("restart")
    crowd(world, 150)
    world.later(0.5)
    root = world.report(service="db", severity="low")

    sent = []
    for _ in range(3):
        world.later(1)
        sent += [found.recovery_id for found in world.reaper.tick() if isinstance(found, Execute)]

    assert sent == [root]


def test_recoveries_that_break_do_not_starve_the_others() -> None:
    world = World("restart")
    crowd(world, 120)
    world.see("db", Status.HEALTHY)
    world.later(0.5)
    good = world.report(severity="low")
    decide = world.coordinator.advance

    def advance(recovery_id: str) -> object:
        if recovery_id != good:
            raise RuntimeError("broken row")
        return decide(recovery_id)

    with patch.object(world.coordinator, "advance", advance):
        sent = []
        for _ in range(3):
            world.later(1)
            sent += world.reaper.tick()

    assert [found.recovery_id for found in sent if isinstance(found, Execute)] == [good]


def test_a_tick_without_redis_asks_once_and_goes_on_when_it_is_back() -> None:
    world = World("restart", platform={"budget": {"percent": 100, "storm_percent": 100}})
    names = crowd(world, 5)
    world.see("db", Status.HEALTHY)
    with patch.object(world.cooldowns, "remaining", side_effect=StoreUnavailable("no Redis")) as asked:
        assert world.reaper.tick() == []

    assert asked.call_count == 1
    assert {found.service for found in world.reaper.tick() if isinstance(found, Execute)} == set(names)


def test_a_late_report_does_not_call_a_fresh_failure_off() -> None:
    world = World("restart")
    world.see("web", Status.HEALTHY, since=600)
    recovery_id = world.report()

    world.report(occurred_at=(world.now - timedelta(hours=1)).isoformat())
    world.run(recovery_id)

    assert world.ledger == ["restart.one", "restart.two"]


def test_another_failure_of_a_mitigated_service_is_news() -> None:
    world = World("degrade")
    mitigated = world.report()
    world.run(mitigated)

    assert list(world.store.busy(world.now)) == [fingerprint_of("web", Category.SERVICE_UNAVAILABLE)]
    assert world.report(category="cache_corruption") != mitigated


def mitigate_by_hand(world: World) -> str:
    recovery_id = world.desk.trigger("web", "degrade").recovery.id
    world.run(recovery_id)
    assert world.recovery(recovery_id).outcome is Outcome.MITIGATED
    return recovery_id


@pytest.mark.parametrize("category", [Category.SERVICE_UNAVAILABLE, Category.SLOW_RESPONSES])
def test_what_was_mitigated_by_hand_is_not_mitigated_again_until_most_of_its_time_is_over(category: Category) -> None:
    world = World("degrade")
    sick = CheckState("web", "http", Status.UNHEALTHY, failures=3, at=world.now, category=category)
    world.store.record_sweep([], [sick], [], [])
    by_hand = mitigate_by_hand(world)

    for _ in range(2):
        assert world.report(category=str(category)) == by_hand
        assert world.store.busy(world.now) == {fingerprint_of("web", category): world.now + timedelta(seconds=810)}
    assert world.report(category="cache_corruption") != by_hand, "another failure is news"

    world.later(811)
    renewed = world.report(category=str(category))
    assert world.recovery(renewed).kind is Kind.AUTOMATIC


def test_what_was_reported_while_it_was_mitigated_by_hand_is_not_mitigated_again_either() -> None:
    world = World("degrade")
    by_hand = world.desk.trigger("web", "degrade").recovery.id
    world.report(category="cache_corruption")
    world.run(by_hand)

    assert world.report(category="cache_corruption") == by_hand


def test_a_precaution_by_hand_hides_no_outage() -> None:
    world = World("degrade")
    by_hand = mitigate_by_hand(world)

    assert world.report() != by_hand


def test_a_restore_that_is_held_back_is_not_tried_every_second() -> None:
    world = World("degrade")
    world.run(world.report())
    world.later(5)
    world.see("web", Status.HEALTHY, since=2)
    platform = world.fleet.platform.model_copy(update={"dry_run": True})
    world.fleet = world.fleet.model_copy(update={"platform": platform})

    opened = 0
    for _ in range(120):
        world.later(1)
        for accepted in world.desk.restore_all():
            opened += 1
            world.run(accepted.recovery.id)

    assert opened == 2, "one per minute"
    assert world.ledger == ["degrade.one", "degrade.two"]


def test_a_restore_that_ends_while_another_worker_looks_is_not_opened_anew() -> None:
    world = World("degrade")
    world.run(world.report())
    world.later(5)
    world.see("web", Status.HEALTHY, since=2)
    (restore,) = world.desk.restore_all()
    look = world.store.mitigations

    def look_and_let_it_end() -> list[Mitigation]:
        found = look()
        world.run(restore.recovery.id)
        return found

    with patch.object(world.store, "mitigations", side_effect=look_and_let_it_end):
        assert world.desk.restore_all() == []

    assert look() == []
    assert len(world.told("recovery:opened")) == 2, "the one that degraded, and its restore"


def test_a_cancelled_restore_stays_cancelled_for_a_while() -> None:
    world = World("degrade")
    world.run(world.report())
    world.later(5)
    world.see("web", Status.HEALTHY, since=2)
    (restore,) = world.desk.restore_all()
    world.desk.cancel(restore.recovery.id)
    world.run(restore.recovery.id)

    assert world.desk.restore_all() == []
    world.later(61)
    assert len(world.desk.restore_all()) == 1


@pytest.mark.parametrize("kind", [Kind.AUTOMATIC, Kind.MANUAL])
def test_checks_that_never_saw_the_failure_do_not_end_its_mitigation(kind: Kind) -> None:
    world = World("degrade")
    world.see("web", Status.HEALTHY, since=600)
    recovery_id = world.report() if kind is Kind.AUTOMATIC else world.desk.trigger("web", "degrade").recovery.id
    world.run(recovery_id)
    assert world.store.mitigations()

    world.later(60)

    assert world.desk.restore_all() == []


def test_what_does_not_end_by_itself_stays_noted_until_it_is_restored() -> None:
    world = World("degrade")
    world.strategies["degrade"].lapses = False
    world.see("web", Status.HEALTHY, since=600)
    world.run(world.report())

    world.later(901)
    world.reaper.tick()
    assert len(world.store.mitigations()) == 1
    (restore,) = world.desk.restore_all()
    world.run(restore.recovery.id)

    closed = world.store.recovery(restore.recovery.id)
    assert closed
    assert closed.outcome is Outcome.RESOLVED
    assert world.store.mitigations() == []


def test_a_dry_run_by_hand_does_not_end_the_quiet_of_a_mitigated_service() -> None:
    world = World("degrade")
    mitigated = world.report()
    world.run(mitigated)

    world.run(world.desk.trigger("web", "degrade", dry_run=True).recovery.id)

    assert world.report() == mitigated


def test_failures_that_take_turns_open_no_more_recoveries_than_one_that_stays() -> None:
    world = World("restart", managed=False)

    opened = set()
    for second in range(120):
        world.later(1)
        category = "service_unavailable" if second % 2 else "network"
        if fingerprint_of("web", category) not in world.store.busy(world.now):
            opened.add(recovery_id := world.report(category=category))
            world.run(recovery_id)

    assert len(opened) == 4, "one per category and minute"
    states = {world.store.recovery(recovery_id).state for recovery_id in opened}  # type: ignore[union-attr]  # they exist
    assert states == {RecoveryState.SUPPRESSED}


def test_due_rows_are_looked_at_in_the_order_in_which_they_became_due() -> None:
    store = MemoryStore()
    late, early = (row(name, id=new_id(), due_at=T0 + timedelta(seconds=after)) for name, after in (("a", 2), ("b", 1)))
    for one in (late, early):
        store.open_recovery(one, None, [], [])

    assert store.due(T0 + timedelta(seconds=3), 1) == [early.id]
