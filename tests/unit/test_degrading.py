"""What people put in force and end by hand: each change is told once, as it was, in the words of whoever made it."""

from datetime import timedelta
from unittest.mock import patch

import pytest

from recovery.degrade import MemoryDegradations
from recovery.engine.degrading import Degrading, Wish
from recovery.errors import NotDegraded
from recovery.models import Level, RuleStanding
from tests.world import World


class Desk(World):
    """A world in which people degrade `web`."""

    def __init__(self) -> None:
        super().__init__("degrade")
        self.degradations = MemoryDegradations(self.clock)
        self.degrading = Degrading(self.store, self.degradations, lambda: self.fleet, self.clock)

    def degrade(self, seconds: float = 60, **fields: object) -> None:
        self.degrading.degrade(Wish("web", Level.LIMITED, "ann", "slow disks", timedelta(seconds=seconds), **fields))  # type: ignore[arg-type]

    def trail(self) -> list[tuple[object, ...]]:
        """Return what the audit trail tells, and hold the events to it."""
        assert [event.data for event in self.told("degradation:changed")] == [
            {name: value for name, value in row.detail.items() if name != "service"} for row in self.store.audits
        ]
        return [(row.detail["change"], row.actor, row.detail["reason"]) for row in self.store.audits]


@pytest.fixture
def world() -> Desk:
    return Desk()


def test_a_rule_that_is_overruled_already_is_not_overruled_again(world: Desk) -> None:
    rule = RuleStanding("weak", "web", in_force=True, until=world.now + timedelta(seconds=60))
    world.store.move_rule(None, rule)
    world.degrading.force_recover("web", "ann", "I know better")
    told = world.trail()

    with pytest.raises(NotDegraded, match="nothing degrades 'web'"):
        world.degrading.force_recover("web", "bob", "me too")

    assert world.trail() == told
    assert world.store.rule_standings()["weak"].overruled_by == "ann"


def test_who_gives_no_reason_is_not_told_to_have_had_the_one_it_was_put_for(world: Desk) -> None:
    world.degrade()
    world.degrading.force_recover("web", "bob")
    world.degrade()
    world.degrading.restore("web", "bob")

    put = ("put", "ann", "slow disks")
    assert world.trail() == [put, ("ended", "bob", ""), put, ("ended", "bob", "")]


@pytest.mark.parametrize("ramp", [(), (10, 50)])
def test_what_ends_early_is_told_with_its_real_end(world: Desk, ramp: tuple[int, ...]) -> None:
    world.degrade(ramp=ramp)
    world.later(10)

    world.degrading.restore("web", "bob", "fixed")

    end = world.told("degradation:changed")[-1].data
    assert (end["change"], end["until"]) == ("ending" if ramp else "ended", world.now.isoformat())


@pytest.mark.parametrize("ramp", [(), (10, 50)])
def test_what_ends_because_its_time_ran_out_is_told_once_though_many_look_and_platforms_restart(world: Desk, ramp: tuple[int, ...]) -> None:
    world.degrade(2, ramp=ramp)
    world.later(1.9)
    world.reaper.tick()
    assert [each[0] for each in world.trail()] == ["put"], "it is in force"

    world.later(0.1)
    for _ in range(3):
        world.use(world.store)
        world.reaper.tick()
        world.later(600)

    assert world.trail() == [("put", "ann", "slow disks"), ("lapsed", "ann", "its time ran out")]
    put, lapsed = world.told("degradation:changed")
    same = put.data.keys() - {"change", "reason"}
    assert {name: lapsed.data[name] for name in same} == {name: put.data[name] for name in same}


def test_of_two_who_see_that_it_is_over_at_the_same_moment_one_tells_it(world: Desk) -> None:
    world.degrade(2)
    world.later(2)
    seen = world.store.degraded()
    world.reaper.tick()

    with patch.object(world.store, "degraded", return_value=seen):
        world.reaper.tick()

    assert [each[0] for each in world.trail()] == ["put", "lapsed"]


def test_what_was_put_anew_when_its_time_ran_out_goes_on(world: Desk) -> None:
    world.degrade(2)
    world.later(2)
    world.degrade(60)

    world.reaper.tick()
    assert [each[0] for each in world.trail()] == ["put", "put"]

    world.later(60)
    world.reaper.tick()
    assert [each[0] for each in world.trail()] == ["put", "put", "lapsed"]


@pytest.mark.parametrize("ramp", [(), (10, 50)])
@pytest.mark.parametrize("by_force", [True, False])
def test_what_a_person_ended_does_not_lapse_as_well(world: Desk, ramp: tuple[int, ...], by_force: bool) -> None:
    world.degrade(ramp=ramp)
    end = world.degrading.force_recover if by_force else world.degrading.restore
    end("web", "bob")

    world.later(600)
    world.reaper.tick()

    assert len(world.trail()) == 2
