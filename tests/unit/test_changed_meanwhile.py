"""The configuration or the installation changes while a recovery is under way: it still ends, and nothing stays behind."""

from dataclasses import replace

import pytest

from recovery.models import Action, AttemptState, Choice, Outcome, Recovery, RecoveryState, Status, StepState
from recovery.ports import AttemptContext, Execute
from recovery.registry import Registry
from strategies import STRATEGIES
from tests.world import World


def undeclare(world: World) -> None:
    world.fleet = world.fleet.model_copy(update={"services": {"db": world.fleet.services["db"]}})


def uninstall(world: World, name: str) -> None:
    """Start again with a version that has no such strategy."""
    kept = {other: strategy for other, strategy in world.strategies.items() if other != name}
    world.registry = Registry("strategy")
    for other, strategy in kept.items():
        world.registry.add(other, strategy)
    world.use(world.store)


def tick_until_closed(world: World, recovery_id: str) -> Recovery:
    for _ in range(10):
        world.later(11)
        for directive in world.reaper.tick():
            if isinstance(directive, Execute):
                world.execute(directive)
        recovery = world.store.recovery(recovery_id)
        assert recovery
        if not recovery.state.is_open:
            return recovery
    pytest.fail(f"still open: {recovery}")


def test_an_attempt_that_was_sent_for_a_service_that_is_gone_is_given_up() -> None:
    world = World("restart")
    recovery_id = world.report()
    world.advance(recovery_id)

    undeclare(world)
    recovery = tick_until_closed(world, recovery_id)

    assert recovery.state is RecoveryState.CANCELLED
    assert world.store.attempts(recovery_id)[0].state is AttemptState.FINISHED
    assert world.ledger == []


def test_an_attempt_that_was_sent_for_a_strategy_that_is_gone_makes_room_for_the_next() -> None:
    world = World("restart", "reload")
    recovery_id = world.report()
    world.advance(recovery_id)

    uninstall(world, "restart")
    recovery = tick_until_closed(world, recovery_id)

    assert recovery.outcome is Outcome.RESOLVED
    assert world.ledger == ["reload.one", "reload.two"]
    assert "no longer installed" in world.store.attempts(recovery_id)[0].reason


def test_a_planned_strategy_that_is_gone_is_passed_over() -> None:
    world = World("restart", "reload")
    recovery_id = world.report()

    uninstall(world, "restart")
    recovery = tick_until_closed(world, recovery_id)

    assert recovery.outcome is Outcome.RESOLVED
    skipped = [decision for decision in world.store.decisions if decision.choice is Choice.SKIP]
    assert [(decision.guard, decision.strategy) for decision in skipped] == [("not_installed", "restart")]


def test_a_finished_attempt_of_a_strategy_that_is_gone_still_closes_the_recovery() -> None:
    world = World("degrade")
    recovery_id = world.report()
    world.execute(world.advance(recovery_id))

    uninstall(world, "degrade")
    recovery = tick_until_closed(world, recovery_id)

    assert recovery.outcome is Outcome.MITIGATED


def test_a_mitigation_of_a_strategy_that_is_gone_does_not_hold_up_the_other_restores() -> None:
    world = World("degrade")
    world.run(world.report())
    put = world.store.mitigations()[0]
    recovery = world.store.recovery(put.recovery_id)
    assert recovery
    world.store.transition(recovery, recovery, mitigation=replace(put, strategy="bygone"))

    world.later(5)
    world.see("web", Status.HEALTHY, since=2)
    (restored,) = world.desk.restore_all()

    assert [planned.strategy for planned in restored.recovery.plan.attempts] == ["degrade"]


def test_an_endpoint_is_switched_back_after_its_remedy_left_the_configuration() -> None:
    strategy = STRATEGIES["backup_fallback"]
    web = World("backup_fallback").fleet.services["web"]

    assert strategy.mitigates_for(web) is None
    assert strategy.verify_with(web, Action.REVERT) is None
    assert [step.name for step in strategy.steps(AttemptContext(web, *[None] * 7), Action.REVERT)] == ["switch_back"]  # type: ignore[arg-type]


def test_steps_that_are_others_than_before_are_not_taken_for_done() -> None:
    world = World("restart")
    recovery_id = world.report()
    directive = world.advance(recovery_id)

    def die() -> None:
        raise MemoryError

    world.strategies["restart"].during["two"] = die
    with pytest.raises(MemoryError):
        world.execute(directive)
    world.strategies["restart"].step_names = ("stop everything", "two")

    world.later(11)
    ended = world.execute(world.reaper.tick()[0])

    assert ended
    assert ended.outcome is Outcome.FAILED
    assert "the steps changed" in ended.reason
    assert world.ledger == ["restart.one", "restart.two"]


def test_a_mitigation_that_is_cancelled_while_it_is_verified_is_taken_away() -> None:
    world = World("degrade", verify_timeout=5)
    recovery_id = world.report()
    probe = world._probe

    def cancel_meanwhile(checks: list[str]) -> object:
        world.desk.cancel(recovery_id, "enough")
        world.healthy = False
        return probe(checks)

    world._probe = cancel_meanwhile  # type: ignore[method-assign, assignment]
    world.use(world.store)
    world.run(recovery_id)

    recovery = world.store.recovery(recovery_id)
    assert recovery
    assert (recovery.state, recovery.reason) == (RecoveryState.CANCELLED, "enough")
    assert world.ledger == ["degrade.one", "degrade.two", "degrade.undo:two", "degrade.undo:one"]
    assert {step.state for step in world.store.steps(recovery_id)} == {StepState.FINISHED}
