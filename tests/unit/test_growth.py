"""A service that stays sick for hours is reported every second: what is kept of that grows by the minute, not by the second."""

from typing import Any

import pytest

from recovery.detect.sweep import Sweeper
from recovery.models import Category, RecoveryState
from recovery.ports import CheckKind, Execute, Finding, Intake
from recovery.registry import Registry
from recovery.store.memory import MemoryHeartbeats
from tests.world import NoOptions, World

MINUTES = 4


class SickService:
    """`web` fails for ever, in one way or in two by turns."""

    def __init__(self, *categories: Category) -> None:
        self.categories = categories
        self.looks = 0

    async def probe(self) -> Finding:
        self.looks += 1
        return Finding(ok=False, message="refused", category=self.categories[self.looks % len(self.categories)])


class WellService:
    async def probe(self) -> Finding:
        return Finding(ok=True)


def live(world: World, sick: SickService) -> None:
    """Let the whole platform run, with a sweep and a tick each second."""
    kinds: Registry[CheckKind] = Registry("check kind")
    kinds.add("http", CheckKind("http", NoOptions, lambda service, _check, _beats: sick if service.name == "web" else WellService()))
    sweeper = Sweeper(world.store, kinds, MemoryHeartbeats(), world.clock, busy=lambda: world.store.busy(world.now))
    for _ in range(MINUTES * 60):
        world.later(1)
        swept = sweeper.run(world.fleet, 1.0)
        accepted = [world.desk.report(failure.model_dump(mode="json")) for failure in swept.unhealthy]
        for one in [*accepted, *world.desk.restore_all()]:
            if one.intake is Intake.OPENED:
                world.run(one.recovery.id)
        for directive in world.reaper.tick():
            if isinstance(directive, Execute):
                world.execute(directive)
                world.run(directive.recovery_id)


STORIES: dict[str, dict[str, Any]] = {
    "in cooldown": {"cooldown": {"restart": 86_400}},
    "attempts used up": {"max_attempts": 1},
    "never helped": {},
    "unmanaged": {"managed": False},
    "dry run": {"dry_run": True},
    "without a plan": {"plan": {Category.SERVICE_UNAVAILABLE: ()}},
}


@pytest.mark.parametrize("categories", [[Category.SERVICE_UNAVAILABLE], [Category.SERVICE_UNAVAILABLE, Category.NETWORK]])
@pytest.mark.parametrize("story", STORIES)
def test_what_is_kept_of_a_long_outage_grows_by_the_minute(story: str, categories: list[Category]) -> None:
    plan = dict.fromkeys(categories, ("restart",))
    world = World("restart", **{"plan": plan, "verify_timeout": 1e-6, **STORIES[story]})
    world.healthy = False

    live(world, SickService(*categories))

    tables = world.store._tables
    most = (MINUTES + 1) * len(categories)
    assert 1 <= len(tables.recoveries) <= most
    assert len(tables.failures) <= most
    assert len(tables.decisions) <= 3 * most
    assert len(tables.events) <= 4 * most + 10
    assert len(world.ledger) <= 2 * 3, "three restarts of two steps at most"


def test_a_mitigated_service_that_stays_sick_is_left_alone() -> None:
    world = World("degrade")

    live(world, SickService(Category.SERVICE_UNAVAILABLE))

    (recovery,) = world.store._tables.recoveries.values()
    assert recovery.state is RecoveryState.SUCCEEDED
    assert len(world.store.decisions) == 1
    assert len(world.ledger) == 2
