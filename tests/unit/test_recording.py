"""What strategies put and end is resolved by the declarations and told: an event and an audit row each, but only what changed something."""

from datetime import timedelta

import pytest

from recovery.config.degradation import CapabilityDeclaration, FeatureDeclaration
from recovery.degrade import MemoryDegradations
from recovery.engine.recording import RecordedDegradations
from recovery.models import Degradation, Level
from tests.world import World


class Told(World):
    """A world with declared features, and strategies that act through what is recorded."""

    def __init__(self) -> None:
        super().__init__("degrade")
        features = {"extras": FeatureDeclaration(priority=20), "other": FeatureDeclaration(priority=1, service="db")}
        capabilities = {"workers": CapabilityDeclaration(partial=60), "threads": CapabilityDeclaration(partial=50)}
        self.fleet = self.fleet.model_copy(update={"features": features, "capabilities": capabilities})
        self.shared = MemoryDegradations(self.clock)
        self.degradations = RecordedDegradations(self.shared, self.store, lambda: self.fleet, self.clock)

    def degradation(self, fence: int = 1, **fields: object) -> Degradation:
        until = self.now + timedelta(seconds=60)
        own = {"features_off": ("search",), "capabilities": {"workers": 10}, "by": "degrade", "recovery_id": "r-1", "fence": fence}
        return Degradation("web", Level.PARTIAL, self.now, until, **own | fields)  # type: ignore[arg-type]

    def trail(self) -> list[tuple[object, ...]]:
        events = [(event.data["change"], event.service, event.recovery_id) for event in self.told("degradation:changed")]
        rows = [(row.detail["change"], row.detail["service"]) for row in self.store.audits if row.actor == "degrade"]
        assert rows == [event[:2] for event in events]
        return list(events)


@pytest.fixture
def world() -> Told:
    return Told()


def test_what_is_put_has_all_that_its_level_costs(world: Told) -> None:
    assert world.degradations.put(world.degradation())

    found = world.shared.current("web")
    assert found is not None
    assert found.features_off == ("extras", "search"), "what concerns another service stays on"
    assert found.capabilities == {"workers": 10, "threads": 50}, "what is named goes before what is declared"
    assert world.trail() == [("put", "web", "r-1")]


def test_an_end_by_ramp_and_an_end_at_once_are_told_apart(world: Told) -> None:
    world.degradations.put(world.degradation(ramp=(10,)))
    world.degradations.end("web", 1)
    world.degradations.put(world.degradation())
    world.degradations.end("web", 1)
    world.degradations.put(world.degradation())
    world.degradations.clear("web", 1)

    assert [each[0] for each in world.trail()] == ["put", "ending", "put", "ended", "put", "ended"]


def test_what_changes_nothing_is_not_told(world: Told) -> None:
    world.degradations.put(world.degradation(fence=5, ramp=(10,)))

    assert not world.degradations.put(world.degradation(fence=4))
    assert not world.degradations.end("web", 4)
    assert not world.degradations.clear("web", 4)
    assert not world.degradations.end("db", 4)
    assert not world.degradations.clear("db", 4)
    assert world.degradations.end("web", 5)
    assert world.degradations.end("web", 5), "it ends already"

    assert [each[0] for each in world.trail()] == ["put", "ending"]
    assert world.degradations.all() == world.shared.all()


def test_what_a_strategy_put_and_nobody_renewed_or_ended_is_told_like_every_other_change(world: Told) -> None:
    world.degradations.put(world.degradation(fence=1))
    world.later(30)
    world.degradations.put(world.degradation(fence=1))
    world.later(59)
    world.reaper.tick()
    assert [each[0] for each in world.trail()] == ["put", "put"], "it was renewed"

    for _ in range(2):
        world.later(1)
        world.reaper.tick()

    assert world.trail()[2:] == [("lapsed", "web", "r-1")]
    lapsed = world.told("degradation:changed")[-1].data
    assert (lapsed["layer"], lapsed["level"], lapsed["by"], lapsed["reason"]) == ("recovery", "partial", "degrade", "its time ran out")


def test_what_a_strategy_ended_does_not_lapse_as_well(world: Told) -> None:
    for ramp in ((), (10, 50)):
        world.degradations.put(world.degradation(ramp=ramp))
        world.degradations.end("web", 1)

    world.later(600)
    world.reaper.tick()

    assert [each[0] for each in world.trail()] == ["put", "ended", "put", "ending"]


def test_a_mitigation_that_degrades_nothing_is_told_with_its_author_when_its_time_runs_out() -> None:
    world = World("cover")
    world.strategies["cover"].holds = 60.0
    recovery_id = world.report()
    world.run(recovery_id)

    for _ in range(2):
        world.later(60)
        world.reaper.tick()

    (lapsed,) = world.told("degradation:changed")
    assert (lapsed.service, lapsed.recovery_id) == ("web", recovery_id)
    assert (lapsed.data["change"], lapsed.data["layer"], lapsed.data["by"]) == ("lapsed", "cover", "cover")
