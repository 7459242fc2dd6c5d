"""Attempts that are worn out, locked or late: whether each still gets its turn."""

from datetime import timedelta

from recovery.models import AttemptState, Outcome, RecoveryState, SilenceKind, Status
from recovery.ports import Done, Execute, Wait
from tests.world import World

HOUR = 3_600


def test_where_every_remedy_is_worn_out_a_person_is_called_and_nothing_waits_for_the_hour() -> None:
    world = World("restart", "reload", cooldown={"restart": 0, "reload": 0}, max_attempts=9, platform={"retry_failed_after": 1})
    world.healthy = False
    for _ in range(2):
        world.run(world.report())
        world.later(2)
    world.ledger.clear()

    recovery_id = world.report()
    ended = world.run(recovery_id)

    assert isinstance(ended, Done)
    assert world.guards(recovery_id) == ["ineffective", "ineffective", "plan_exhausted"]
    assert world.ledger == []
    assert world.recovery(recovery_id).quiet_until == world.now + timedelta(seconds=300), "only stability or time changes anything"


def test_a_service_with_one_worn_out_remedy_gets_the_other_one() -> None:
    world = World("restart", "reload", cooldown={"restart": 0, "reload": 0}, platform={"retry_failed_after": 1, "ineffective_after": 1})
    world.healthy = False
    world.strategies["reload"].during["two"] = lambda: setattr(world, "healthy", True)
    world.run(world.report())
    world.later(2)
    world.ledger.clear()

    world.run(world.report())

    assert world.ledger == ["reload.one", "reload.two"]


def test_a_lock_that_its_own_recovery_took_before_its_process_died_is_no_objection() -> None:
    world = World("restart", cooldown={"restart": 60})
    recovery_id = world.report()
    world.cooldowns.acquire("web", "restart", f"{recovery_id}:1", 60)

    assert isinstance(world.advance(recovery_id), Execute)


def test_a_lock_that_was_lost_in_a_race_is_recorded_and_the_next_remedy_gets_its_turn() -> None:
    world = World("restart", "reload", cooldown={"restart": 60, "reload": 0})
    recovery_id = world.report()
    remaining = world.cooldowns.remaining

    def just_before_it_is_taken(service: str, strategies: list[str]) -> dict[str, float]:
        left = remaining(service, strategies)
        world.cooldowns.acquire("web", "restart", "somebody else", 40)
        return left

    world.cooldowns.remaining = just_before_it_is_taken  # type: ignore[method-assign, assignment]
    directive = world.advance(recovery_id)

    assert isinstance(directive, Execute)
    assert directive.strategy == "reload"
    (basis,) = world.store.bases(world.now, 10)
    assert basis.facts["locks"] == {"restart": 40.0}
    assert world.guards(recovery_id) == ["cooldown", "all_clear"]


def begun_late(world: World, **fields: object) -> Execute:
    """Let a strategy message lie in its queue."""
    directive = world.advance(world.report(**fields))
    assert isinstance(directive, Execute)
    return directive


def test_an_attempt_that_nobody_began_is_taken_back_when_a_window_has_opened_and_begins_anew_at_its_end() -> None:
    world = World("restart")
    directive = begun_late(world)

    world.silence(SilenceKind.DEPLOY, 600)
    world.later(60)
    late = world.execute(directive)
    assert [type(found) for found in world.reaper.tick()] == [Wait]
    held = world.recovery(directive.recovery_id)
    again = world.execute(directive)
    world.later(540)
    (released,) = world.reaper.tick()

    assert (late, again, world.ledger) == (None, None, [])
    assert (held.state, held.held_by) == (RecoveryState.PENDING, "deploy")
    assert isinstance(released, Execute)
    assert (released.strategy, released.attempt) == ("restart", 2)
    world.execute(released)
    world.advance(directive.recovery_id)
    assert world.recovery(directive.recovery_id).outcome is Outcome.RESOLVED
    states = [attempt.state for attempt in world.store.attempts(directive.recovery_id)]
    assert states == [AttemptState.SKIPPED, AttemptState.FINISHED]


def test_an_attempt_that_nobody_began_is_dropped_when_the_service_is_well_by_then() -> None:
    world = World("restart", "degrade")
    directive = begun_late(world)

    world.later(1_800)
    world.see("web", Status.HEALTHY, since=60)
    late = world.execute(directive)
    world.reaper.tick()

    closed = world.recovery(directive.recovery_id)
    assert (late, world.ledger, closed.state) == (None, [], RecoveryState.SUPPRESSED)
    assert world.guards(directive.recovery_id) == ["all_clear", "healthy_again"]
    assert world.cooldowns.remaining("web", ["restart"]) == {}, "what never ran cools nothing down"


def test_a_late_message_begins_its_attempt_where_nothing_objects() -> None:
    world = World("restart")
    directive = begun_late(world)

    world.later(1_800)

    assert world.execute(directive) is not None
    assert world.ledger == ["restart.one", "restart.two"]
