"""The clock is set back or forward by five minutes in the middle of recoveries: they end within seconds, and nothing is done twice."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from recovery.models import Outcome, Recovery, RecoveryState, Status
from recovery.ports import Execute
from tests.unit.test_crash_safety import Killed, keeping_leases, kill
from tests.world import World

SOON = 45.0
"""Seconds of world time within which everything must be over: a lease, a resend and a cooldown, one after the other."""


def settle(world: World, recovery_id: str, within: float = SOON) -> Recovery:
    """Tick once per second, obeying what the tick says, until the recovery is closed."""
    end = world.now + timedelta(seconds=within)
    while world.now <= end:
        for directive in world.reaper.tick():
            if isinstance(directive, Execute):
                world.execute(directive)
                world.advance(directive.recovery_id)
        if not world.recovery(recovery_id).state.is_open:
            return world.recovery(recovery_id)
        world.later(1)
    raise AssertionError(f"still open after {within:g} s: {world.recovery(recovery_id)}")


def step(world: World, seconds: float) -> Callable[[], None]:
    return lambda: world.later(seconds)


STEPS = pytest.mark.parametrize("seconds", [-300.0, 300.0], ids=["back", "forward"])


@STEPS
def test_a_recovery_that_was_just_reported_goes_on(seconds: float) -> None:
    world = World("restart")
    recovery_id = world.report()

    world.later(seconds)

    assert settle(world, recovery_id).outcome is Outcome.RESOLVED
    assert world.ledger == ["restart.one", "restart.two"]


@STEPS
def test_a_message_that_was_lost_before_the_step_is_sent_again(seconds: float) -> None:
    world = World("restart")
    recovery_id = world.report()
    assert isinstance(world.advance(recovery_id), Execute)  # nobody hears it

    world.later(seconds)

    assert settle(world, recovery_id).outcome is Outcome.RESOLVED
    assert world.ledger == ["restart.one", "restart.two"]


@STEPS
def test_a_worker_at_work_finishes_what_it_does(seconds: float) -> None:
    world = World("restart")
    world.strategies["restart"].during["one"] = step(world, seconds)
    recovery_id = world.report()

    world.run(recovery_id)

    assert settle(world, recovery_id).outcome is Outcome.RESOLVED
    assert world.ledger == ["restart.one", "restart.two"]


@STEPS
def test_a_worker_that_died_before_the_step_is_replaced(seconds: float) -> None:
    world = World("restart")
    world.strategies["restart"].during["two"] = kill
    recovery_id = world.report()
    directive = world.advance(recovery_id)
    with keeping_leases(world), pytest.raises(Killed):
        world.execute(directive)
    world.strategies["restart"].during.clear()
    world.strategies["restart"].took_effect = lambda step: step == "two"

    world.later(seconds)

    assert settle(world, recovery_id).outcome is Outcome.RESOLVED
    assert world.ledger == ["restart.one", "restart.two"]


@STEPS
def test_a_strategy_is_not_kept_off_by_a_cooldown_from_the_future(seconds: float) -> None:
    world = World("restart", platform={"cooldown": 20})
    world.run(world.report())

    world.later(seconds)
    world.later(21 if seconds > 0 else 0)
    second = world.report()

    ended = settle(world, second, within=SOON + 20)
    assert ended.state is RecoveryState.SUCCEEDED
    assert world.ledger == ["restart.one", "restart.two"] * 2


@STEPS
def test_many_recoveries_each_end_once(seconds: float) -> None:
    world = World("restart")
    names = [f"web-{number}" for number in range(12)]
    world.declare(*names)
    ids = [world.report(service=name) for name in names]
    sent = [world.advance(recovery_id) for recovery_id in ids[:6]]
    for directive in sent[:3]:
        if isinstance(directive, Execute):
            world.execute(directive)

    world.later(seconds)

    for recovery_id in ids:
        settle(world, recovery_id, within=20 * SOON)
    assert all(world.recovery(recovery_id).outcome is Outcome.RESOLVED for recovery_id in ids)
    assert sorted(world.ledger) == ["restart.one"] * 12 + ["restart.two"] * 12


def test_a_question_lapses_although_the_clock_was_set_back_by_an_hour() -> None:
    world = World("restart", platform={"approval_timeout": 60}, autonomy="approve")
    recovery_id = world.report()
    world.run(recovery_id)

    world.later(-3_600)

    assert settle(world, recovery_id).state is RecoveryState.SUPPRESSED


def test_patience_with_a_dependency_ends_although_the_clock_was_set_back_by_an_hour() -> None:
    world = World("restart", platform={"dependency_patience": 60})
    world.see("db", Status.UNHEALTHY)
    recovery_id = world.report()
    world.run(recovery_id)

    world.later(-3_600)

    assert settle(world, recovery_id).outcome is Outcome.RESOLVED
