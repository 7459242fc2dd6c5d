"""What holds a recovery, what lets it go on, and what it finds then: everything is judged anew when a wait is over."""

from datetime import timedelta
from typing import Any

import pytest

from recovery.engine.coordinator import Coordinator
from recovery.models import Kind, Outcome, RecoveryState, ServiceState, SilenceKind, Status
from recovery.ports import Done, Execute, Intake, Wait
from tests.world import World

HOUR = 3_600


@pytest.mark.parametrize("kind", [SilenceKind.SILENCE, SilenceKind.DEPLOY, SilenceKind.MAINTENANCE, SilenceKind.KILL_SWITCH])
def test_a_silenced_service_that_is_still_sick_at_the_end_is_recovered_then(kind: SilenceKind) -> None:
    world = World("restart")
    world.silence(kind, 50)
    recovery_id = world.report()

    held = world.advance(recovery_id)
    waiting = world.recovery(recovery_id)
    world.later(49)
    assert world.reaper.tick() == []
    world.later(1)
    (released,) = world.reaper.tick()

    assert isinstance(held, Wait)
    assert (waiting.state, waiting.held_by, waiting.reason[-7:]) == (RecoveryState.PENDING, str(kind), "because")
    assert isinstance(released, Execute)
    assert world.recovery(recovery_id).held_by == ""
    assert world.guards(recovery_id) == [str(kind), "all_clear"]


def test_a_silenced_service_that_got_well_meanwhile_is_left_alone() -> None:
    world = World("restart")
    world.silence(SilenceKind.SILENCE, HOUR)
    recovery_id = world.report()
    world.advance(recovery_id)

    world.later(HOUR)
    world.see("web", Status.HEALTHY, since=60)
    world.reaper.tick()

    assert world.recovery(recovery_id).state is RecoveryState.SUPPRESSED
    assert world.guards(recovery_id) == ["silence", "healthy_again"]
    assert world.ledger == []


@pytest.mark.parametrize("kind", [SilenceKind.SILENCE, SilenceKind.KILL_SWITCH])
def test_what_is_lifted_early_lets_go_at_once(kind: SilenceKind) -> None:
    world = World("restart")
    silence = world.silence(kind, HOUR)
    world.advance(world.report())

    world.later(1)
    world.store.lift_silence(silence.id, "bob", world.now)

    assert [type(found) for found in world.reaper.tick()] == [Execute]


def test_a_silence_that_is_lifted_in_the_moment_of_the_decision_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("restart")
    deploy = world.silence(SilenceKind.DEPLOY, HOUR)
    recovery_id = world.report()
    transition = world.store.transition

    def lifted_just_before(*args: Any, **kwargs: Any) -> Any:
        world.store.lift_silence(deploy.id, "ci", world.now)
        return transition(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "transition", lifted_just_before)
        world.advance(recovery_id)
    world.later(60)

    assert [type(found) for found in world.reaper.tick()] == [Execute]


def test_a_silence_that_begins_between_two_attempts_holds_the_second_one() -> None:
    world = World("restart", "reload")
    world.healthy = False
    recovery_id = world.report()
    world.execute(world.advance(recovery_id))
    world.silence(SilenceKind.SILENCE, 60)

    world.advance(recovery_id)
    held = world.recovery(recovery_id)
    world.later(60)
    (second,) = world.reaper.tick()

    assert (held.state, held.held_by, held.attempt) == (RecoveryState.PENDING, "silence", 1)
    assert isinstance(second, Execute)
    assert (second.strategy, second.attempt) == ("reload", 2)
    assert world.recovery(recovery_id).state is RecoveryState.IN_PROGRESS


def test_a_service_that_got_well_while_its_second_attempt_was_held_is_left_alone() -> None:
    world = World("restart", "reload")
    world.healthy = False
    recovery_id = world.report()
    world.execute(world.advance(recovery_id))
    world.silence(SilenceKind.SILENCE, 60)
    world.advance(recovery_id)

    world.later(60)
    world.see("web", Status.HEALTHY, since=10)
    world.reaper.tick()

    assert world.recovery(recovery_id).state is RecoveryState.SUPPRESSED
    assert "reload.one" not in world.ledger


def test_what_is_held_between_two_attempts_makes_room_for_the_root_that_it_waits_for() -> None:
    world = World("restart", "reload")
    world.change("db", plan=world.fleet.services["web"].plan)
    world.healthy = False
    web = world.report()
    world.execute(world.advance(web))
    world.see("db", Status.UNHEALTHY)
    world.advance(web)

    db = world.report(service="db")
    started = world.advance(db)

    assert world.recovery(web).held_by == "dependency_down"
    assert isinstance(started, Execute), "the budget of two services is one at a time, and the one that waits does not use it"


def test_the_kill_switch_stops_what_was_asked_for_by_hand_but_not_what_is_forced() -> None:
    world = World("restart")
    world.silence(SilenceKind.KILL_SWITCH)
    by_hand = world.desk.trigger("web", "restart").recovery.id

    held = world.advance(by_hand)
    world.desk.cancel(by_hand)
    world.run(by_hand)
    forced = world.run(world.desk.trigger("web", "restart", force=True).recovery.id)

    assert isinstance(held, Wait)
    assert (held.until - world.now).total_seconds() == 60
    assert isinstance(forced, Done)
    assert forced.outcome is Outcome.RESOLVED


def test_the_kill_switch_stops_what_lies_in_its_queue_but_not_what_has_begun() -> None:
    world = World("restart")
    recovery_id = world.report()
    sent = world.advance(recovery_id)
    switch = world.silence(SilenceKind.KILL_SWITCH)

    world.later(HOUR)
    stopped = world.execute(sent)
    world.store.lift_silence(switch.id, "ann", world.now)
    (again,) = world.reaper.tick()

    def turn() -> None:
        world.silence(SilenceKind.KILL_SWITCH)

    world.strategies["restart"].during["one"] = turn
    done = world.execute(again)

    assert stopped is None
    assert done
    assert (done.outcome, done.runs) == (Outcome.RESOLVED, 1)
    assert world.ledger == ["restart.one", "restart.two"]


def test_a_restore_waits_for_the_end_of_a_silence() -> None:
    world = World("degrade")
    world.run(world.report())
    world.later(5)
    world.see("web", Status.HEALTHY, since=2)
    world.silence(SilenceKind.SILENCE, 60)
    (restore,) = world.desk.restore_all()

    held = world.run(restore.recovery.id)
    world.later(60)
    world.reaper.tick()

    assert restore.recovery.kind is Kind.SCHEDULED
    assert isinstance(held, Wait)
    assert world.recovery(restore.recovery.id).state is RecoveryState.IN_PROGRESS


def test_a_platform_that_does_not_see_waits_until_it_does() -> None:
    world = World("restart")
    world.blind = "no sweep for 45 s"
    recovery_id = world.report()
    world.advance(recovery_id)

    world.later(1)
    held = world.reaper.tick()
    world.blind = None
    world.later(1)
    (released,) = world.reaper.tick()

    assert [type(found) for found in held] == [Wait]
    assert isinstance(released, Execute)
    assert world.guards(recovery_id) == ["blind", "all_clear"]


def test_what_was_seen_too_long_ago_makes_it_blind_and_a_fresh_look_ends_that() -> None:
    world = World("restart")
    world.coordinator = Coordinator(world.store, world.cooldowns, world.registry, lambda: world.fleet, world.clock)
    world.see("db", Status.HEALTHY)
    world.later(32)
    recovery_id = world.report()

    held = world.advance(recovery_id)
    reason = world.recovery(recovery_id).reason
    world.see("db", Status.HEALTHY)
    released = world.advance(recovery_id)

    assert isinstance(held, Wait)
    assert "no sweep for 32 s" in reason
    assert isinstance(released, Execute)


def test_a_flapping_service_is_recovered_when_it_has_settled() -> None:
    world = World("restart")
    world.store.record_sweep([], [], [ServiceState("web", Status.UNHEALTHY, seen_at=world.now, flapping=True, change_rate=40.0)], [])
    recovery_id = world.report()
    world.advance(recovery_id)

    world.later(1)
    world.see("web", Status.UNHEALTHY)
    (released,) = world.reaper.tick()

    assert isinstance(released, Execute)
    assert world.guards(recovery_id) == ["flapping", "all_clear"]


def test_a_root_that_nobody_recovers_is_not_waited_for_for_ever() -> None:
    world = World("restart", platform={"dependency_patience": 30})
    world.see("db", Status.UNHEALTHY)
    recovery_id = world.report()
    world.advance(recovery_id)

    world.later(29)
    held = world.reaper.tick()
    world.later(1)
    (released,) = world.reaper.tick()

    assert [type(found) for found in held] == [Wait]
    assert isinstance(released, Execute)
    assert "db still down after 30 s of patience" in world.store.decisions[-1].reason


def test_a_root_behind_a_healthy_dependency_holds_a_service_too() -> None:
    world = World("restart")
    world.declare("disk")
    world.change("db", depends_on=("disk",))
    world.see("db", Status.HEALTHY)
    world.see("disk", Status.UNHEALTHY)
    recovery_id = world.report()

    assert isinstance(world.advance(recovery_id), Wait)
    assert world.store.decisions[-1].facts["down"] == ["disk"]


@pytest.mark.parametrize("kind", [SilenceKind.SILENCE, SilenceKind.KILL_SWITCH])
def test_a_request_by_hand_does_not_wait_behind_a_recovery_that_is_held(kind: SilenceKind) -> None:
    world = World("restart")
    world.silence(kind, HOUR)
    held = world.report()
    world.advance(held)

    asked = world.desk.trigger("web", "restart", force=True).recovery
    world.run(asked.id)

    assert asked.id != held
    assert world.recovery(asked.id).outcome is Outcome.RESOLVED
    assert (world.recovery(held).state, str(kind) in world.recovery(held).reason) == (RecoveryState.CANCELLED, True)
    assert world.ledger == ["restart.one", "restart.two"]


def test_a_request_by_hand_joins_a_recovery_that_is_at_work_and_a_dry_run_ends_none() -> None:
    world = World("restart")
    at_work = world.report()
    directive = world.advance(at_work)
    joined = world.desk.trigger("web", "restart")
    world.execute(directive)
    world.advance(at_work)
    world.silence(SilenceKind.SILENCE, HOUR)
    held = world.report(occurred_at=(world.now + timedelta(seconds=1)).isoformat())
    world.advance(held)

    dry = world.desk.trigger("web", "restart", dry_run=True)

    assert (joined.intake, joined.recovery.id) == (Intake.MERGED, at_work)
    assert (dry.recovery.dry_run, dry.recovery.state, world.recovery(held).state) == (True, RecoveryState.SUPPRESSED, RecoveryState.PENDING)


def test_a_dry_run_by_hand_says_what_it_would_do_while_all_is_paused() -> None:
    world = World("restart")
    world.silence(SilenceKind.KILL_SWITCH, HOUR)

    asked = world.desk.trigger("web", "restart", dry_run=True).recovery
    world.run(asked.id)

    assert (world.recovery(asked.id).state, world.guards(asked.id)) == (RecoveryState.SUPPRESSED, ["dry_run"])
