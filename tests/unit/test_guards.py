"""Each guard, and what the coordinator makes of its objection."""

import pytest

from recovery.models import Choice, RecoveryState, SilenceKind, Status
from recovery.ports import Done, Execute, Intake, Wait
from tests.world import World


def closing_guard(world: World, recovery_id: str) -> tuple[RecoveryState, str]:
    recovery = world.store.recovery(recovery_id)
    assert recovery
    newest = [decision for decision in world.store.decisions if decision.recovery_id == recovery_id][-1]
    return recovery.state, newest.guard


def test_an_unmanaged_service_is_watched_not_touched() -> None:
    world = World("restart", managed=False)

    recovery_id = world.report()
    world.run(recovery_id)

    assert closing_guard(world, recovery_id) == (RecoveryState.SUPPRESSED, "unmanaged")
    assert world.ledger == []


def test_a_failure_that_is_not_recoverable_is_not_acted_on() -> None:
    world = World("restart")

    recovery_id = world.report(recoverable=False)
    world.run(recovery_id)

    assert closing_guard(world, recovery_id) == (RecoveryState.SUPPRESSED, "unrecoverable")


@pytest.mark.parametrize("level", ["platform", "service", "recovery"])
def test_a_dry_run_says_what_it_would_do_and_touches_nothing(level: str) -> None:
    world = World("restart", "degrade", platform={"dry_run": level == "platform"}, dry_run=level == "service")

    accepted = world.desk.trigger("web", dry_run=level == "recovery")
    world.run(accepted.recovery.id)

    recovery = world.store.recovery(accepted.recovery.id)
    assert recovery
    assert recovery.reason == f"dry run ({level}): would run restart, then degrade"
    assert world.ledger == []


def test_a_service_waits_for_what_it_depends_on() -> None:
    world = World("restart")
    world.see("db", Status.UNHEALTHY)
    recovery_id = world.report()

    held = world.advance(recovery_id)
    world.see("db", Status.HEALTHY)
    world.later(1)
    (released,) = world.reaper.tick()

    assert isinstance(held, Wait)
    assert isinstance(released, Execute)
    assert [decision.guard for decision in world.store.decisions] == ["dependency_down", "all_clear"]


def test_a_held_service_that_came_back_with_its_root_is_left_alone() -> None:
    world = World("restart")
    world.see("db", Status.UNHEALTHY)
    recovery_id = world.report()
    world.advance(recovery_id)

    world.later(3)
    world.see("db", Status.HEALTHY)
    world.see("web", Status.HEALTHY, since=1)
    world.reaper.tick()

    assert closing_guard(world, recovery_id) == (RecoveryState.SUPPRESSED, "healthy_again")
    assert world.ledger == []


def test_a_real_failure_right_after_a_late_one_opens_a_recovery() -> None:
    world = World("restart")
    world.see("web", Status.HEALTHY, since=1)
    late = world.report(occurred_at="2026-01-01T11:59:50Z")
    world.run(late)

    world.later(1)
    fresh = world.report()

    assert fresh != late
    assert isinstance(world.advance(fresh), Execute)


def test_a_strategy_in_cooldown_is_skipped_for_the_next_one() -> None:
    world = World("restart", "reload", cooldown={"restart": 60, "reload": 0})
    world.run(world.report())
    world.later(5)

    world.run(world.report())

    assert world.ledger == ["restart.one", "restart.two", "reload.one", "reload.two"]


def test_a_cooldown_is_restored_from_history_when_redis_lost_it() -> None:
    world = World("restart", cooldown={"restart": 60})
    first = world.report()
    world.run(first)
    world.cooldowns.release("web", "restart", f"{first}:1")
    world.later(20)

    directive = world.run(world.report())

    assert isinstance(directive, Wait)
    assert (directive.until - world.now).total_seconds() == pytest.approx(40)


def test_a_recovery_that_waited_for_a_cooldown_acts_when_it_is_over() -> None:
    world = World("restart", cooldown={"restart": 60})
    world.run(world.report())
    world.later(1)
    recovery_id = world.report()
    world.run(recovery_id)

    world.later(60)
    world.run(recovery_id)

    assert world.ledger.count("restart.one") == 2


def test_a_strategy_is_given_up_after_its_attempt_cap_until_the_service_was_stable() -> None:
    world = World("restart", max_attempts=2, cooldown={"restart": 0}, platform={"retry_failed_after": 1})
    for _ in range(2):
        world.run(world.report())
        world.later(2)

    capped = world.report()
    directive = world.run(capped)
    world.later(301)
    world.mark_stable("web")
    again = world.run(world.report())

    assert isinstance(directive, Done)
    recovery = world.store.recovery(capped)
    assert recovery
    assert recovery.state is RecoveryState.FAILED
    assert "ran 2 times" in recovery.reason
    assert isinstance(again, Done)
    assert world.ledger.count("restart.one") == 3


def test_a_plan_with_nothing_to_try_asks_for_a_person() -> None:
    world = World("restart")
    world.strategies["restart"].refusal = "no driver is declared"

    recovery_id = world.report()
    world.run(recovery_id)

    recovery = world.store.recovery(recovery_id)
    assert recovery
    assert recovery.state is RecoveryState.FAILED
    assert "restart: no driver is declared" in recovery.reason
    assert world.store.decisions[-1].choice is Choice.ESCALATE


def test_what_a_person_asked_for_does_not_use_up_the_attempts() -> None:
    world = World("restart", max_attempts=1, cooldown={"restart": 0})
    for _ in range(2):
        world.run(world.desk.trigger("web", "restart").recovery.id)
        world.later(2)

    world.run(world.report())

    assert world.ledger.count("restart.one") == 3


def test_a_service_given_up_is_looked_at_again_when_its_cap_could_have_been_reset() -> None:
    world = World("restart", max_attempts=1, cooldown={"restart": 0}, platform={"retry_failed_after": 5, "stable_after": 300})
    world.run(world.report())
    world.later(6)
    given_up = world.report()
    world.run(given_up)

    world.later(290)
    during = world.report()
    world.later(11)
    after = world.report()

    assert during == given_up
    assert after != given_up


@pytest.mark.parametrize("held", [True, False])
def test_a_dry_run_by_hand_answers_at_once_although_another_recovery_is_open_and_changes_nothing(held: bool) -> None:
    world = World("restart", "degrade")
    if held:
        world.silence(SilenceKind.MAINTENANCE, 300)
    standing = world.report()
    world.advance(standing)
    before = (world.recovery(standing), world.store.attempts(standing), world.cooldowns.remaining("web", ["restart", "degrade"]))

    accepted = world.desk.trigger("web", dry_run=True)

    assert accepted.intake is Intake.OPENED
    assert accepted.recovery.id != standing
    assert isinstance(world.advance(accepted.recovery.id), Done), "nobody waits for it"
    rehearsal = world.recovery(accepted.recovery.id)
    assert (rehearsal.state, rehearsal.dry_run) == (RecoveryState.SUPPRESSED, True)
    does = "is held by maintenance" if held else "is in_progress"
    assert rehearsal.reason == f"dry run (recovery): would run restart, then degrade; the automatic recovery {standing[:8]} {does} now"
    assert world.guards(rehearsal.id) == ["dry_run"]
    assert before == (world.recovery(standing), world.store.attempts(standing), world.cooldowns.remaining("web", ["restart", "degrade"]))
    assert world.desk.trigger("web", recovery_id=rehearsal.id, dry_run=True).intake is Intake.DUPLICATE
