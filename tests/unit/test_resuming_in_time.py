"""How long it takes, at most, until another worker goes on with an attempt whose worker died: a lease, a tick, and the way of a message."""

import itertools
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from unittest.mock import patch

import pytest

from recovery.ports import Execute
from tests.world import World

MARGIN = 5.0
"""Seconds that may come on top of the lease, for a tick, a message and a worker that starts; the engine itself needs one tick."""
TICK = 1.0
STEP = 0.25


class Killed(BaseException):
    """The worker process is gone."""


def dying(world: World, moment: str) -> AbstractContextManager[Any]:
    """Let whoever carries out an attempt die right before this call of the store, and release nothing."""
    stack = ExitStack()
    for name in {moment, "release_lease", "hand_back"}:
        stack.enter_context(patch.object(world.store, name, side_effect=Killed))
    stack.enter_context(pytest.raises(Killed))
    return stack


def resumed_after(lease: float, moment: str, taken_at: float, phase: float) -> float:
    """Return the seconds from the death of the first worker to the beginning of the second.

    Args:
        lease: its length.
        moment: the call of the store before which the first one dies.
        taken_at: seconds for which the first message lay in its queue.
        phase: seconds from the first message to the first tick.
    """
    world = World("restart", platform={"lease": lease})
    directive = world.advance(world.report())
    clock = (number * STEP for number in itertools.count(1))
    ticks = phase
    died: float | None = None
    for now in clock:
        world.later(STEP)
        if died is None and now >= taken_at:
            with dying(world, moment):
                world.execute(directive)
            died = now
        if now < ticks:
            continue
        ticks += TICK
        for again in world.reaper.tick():
            if isinstance(again, Execute) and died is not None and world.execute(again) is not None:
                return now - died
        assert now < 60, "nobody goes on with it"
    raise AssertionError


@pytest.mark.parametrize("moment", ["acquire_lease", "begin_attempt", "journal", "finish_attempt"])
@pytest.mark.parametrize("lease", [2.0, 10.0])
def test_whenever_its_worker_dies_an_attempt_goes_on_within_a_lease_and_a_tick(lease: float, moment: str) -> None:
    waits = [resumed_after(lease, moment, taken, phase) for taken in (0.25, lease / 2, lease - 0.25) for phase in (0.25, 0.5, 0.75, 1.0)]

    assert max(waits) <= lease + TICK + STEP < lease + MARGIN


def test_a_message_is_not_sent_again_while_somebody_has_the_lease_for_it() -> None:
    world = World("restart", platform={"lease": 10})
    directive = world.advance(world.report())
    world.later(9)
    with dying(world, "begin_attempt"):
        world.execute(directive)

    sent = []
    for _ in range(11):
        world.later(1)
        sent += [(world.now, each) for each in world.reaper.tick() if isinstance(each, Execute)]

    ((when, _),) = sent
    assert world.store.lease_of("web").until <= when  # type: ignore[union-attr]
