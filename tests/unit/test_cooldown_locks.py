"""A cooldown lock is taken before the transaction that it is for: whatever happens in between must not keep a remedy off its service."""

from unittest.mock import patch

import pytest

from recovery.errors import StoreUnavailable
from recovery.models import AttemptState, SilenceKind, Status
from recovery.ports import Execute, Wait
from tests.world import World


def is_locked(world: World) -> bool:
    return bool(world.cooldowns.remaining("web", ["restart"]))


@pytest.fixture
def world() -> World:
    return World("restart", platform={"cooldown": 60})


def test_an_error_that_keeps_a_decision_from_being_written_frees_its_lock(world: World) -> None:
    recovery_id = world.report()

    with patch.object(world.store, "transition", side_effect=ValueError("a bug")), pytest.raises(ValueError, match="a bug"):
        world.advance(recovery_id)

    assert not is_locked(world)
    assert isinstance(world.advance(recovery_id), Execute)


def test_an_error_between_lock_and_transaction_frees_the_lock(world: World) -> None:
    recovery_id = world.report()

    with patch("recovery.engine.moves.basis_of", side_effect=ValueError("a bug")), pytest.raises(ValueError, match="a bug"):
        world.advance(recovery_id)

    assert not is_locked(world)


def test_a_database_that_refuses_the_decision_and_says_so_costs_no_cooldown(world: World) -> None:
    recovery_id = world.report()

    with patch.object(world.store, "transition", side_effect=StoreUnavailable("locked")), pytest.raises(StoreUnavailable):
        world.advance(recovery_id)

    assert not is_locked(world)


def test_a_decision_that_was_written_although_its_reply_was_lost_keeps_its_lock(world: World) -> None:
    recovery_id, write = world.report(), world.store.transition

    def lose_the_reply(*args: object, **kwargs: object) -> None:
        write(*args, **kwargs)  # type: ignore[arg-type]
        raise StoreUnavailable("the connection broke")

    with patch.object(world.store, "transition", side_effect=lose_the_reply), pytest.raises(StoreUnavailable):
        world.advance(recovery_id)

    assert is_locked(world)
    assert [attempt.state for attempt in world.store.attempts(recovery_id)] == [AttemptState.QUEUED]


def interrupt(world: World, recovery_id: str) -> None:
    """Let the database go away in the transaction, and stay away: nobody can know whether it was written."""
    away = StoreUnavailable("away")
    real, asked = world.store.recovery, iter([False])

    def first_time_only(name: str) -> object:
        if next(asked, True):
            raise away
        return real(name)

    with (
        patch.object(world.store, "transition", side_effect=away),
        patch.object(world.store, "recovery", side_effect=first_time_only),
        pytest.raises(StoreUnavailable),
    ):
        world.advance(recovery_id)
    assert is_locked(world), "it must not be freed while the attempt may have begun"


def test_a_recovery_that_was_interrupted_knows_its_own_lock(world: World) -> None:
    recovery_id = world.report()
    interrupt(world, recovery_id)

    (directive,) = world.reaper.tick()

    assert isinstance(directive, Execute)
    assert directive.strategy == "restart"


def test_a_recovery_that_was_interrupted_and_decides_otherwise_frees_its_lock(world: World) -> None:
    recovery_id = world.report()
    interrupt(world, recovery_id)
    world.silence(SilenceKind.SILENCE, 300)

    assert isinstance(world.advance(recovery_id), Wait)

    assert not is_locked(world)


def test_a_recovery_that_was_interrupted_and_is_no_longer_needed_frees_its_lock(world: World) -> None:
    recovery_id = world.report()
    interrupt(world, recovery_id)
    world.later(1)
    world.see("web", Status.HEALTHY)

    world.advance(recovery_id)

    assert not is_locked(world)


def test_a_recovery_that_was_interrupted_and_is_cancelled_frees_its_lock(world: World) -> None:
    recovery_id = world.report()
    interrupt(world, recovery_id)
    world.desk.cancel(recovery_id)

    world.advance(recovery_id)

    assert not is_locked(world)


def test_looking_at_a_lock_of_others_never_takes_it(world: World) -> None:
    world.cooldowns.acquire("web", "restart", "somebody", 30)
    recovery_id = world.report()

    assert isinstance(world.advance(recovery_id), Wait)

    assert world.cooldowns.acquire("web", "restart", "somebody", 0)
