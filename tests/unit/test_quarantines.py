"""A quarantine ends when its time runs out, sick or not, and its breaker with it."""

from dataclasses import replace
from datetime import timedelta
from unittest.mock import patch

import pytest

from recovery.breaker import MemoryBreakers
from recovery.degrade import MemoryDegradations
from recovery.models import BreakerOrder, BreakerState, BreakerView, Mitigation, Outcome, RecoveryState
from recovery.ports import Execute, Wait
from recovery.registry import Registry
from strategies import build
from strategies.collaborators import unconnected
from strategies.drivers import DRIVERS
from tests.rows import recovery
from tests.world import World
from workers.degrading import end_quarantines


class Ward(World):
    """`web` is in quarantine for a minute, which holds its breaker `gate` open."""

    def __init__(self) -> None:
        super().__init__()
        self.breakers = MemoryBreakers(self.clock)
        nothing = unconnected(DRIVERS, self.clock)
        self.remedies = build(replace(nothing, breakers=self.breakers, degradations=MemoryDegradations(self.clock)))
        self.change("web", remedies={"quarantine": {"breaker": "gate"}})
        self.breakers.operate("gate", BreakerOrder.FORCED_OPEN, "quarantine of web", "", 120)
        opened = recovery("web")
        self.store.open_recovery(opened, None, [], [])
        self.mitigation = Mitigation("web", "quarantine", opened.id, self.now, self.now + timedelta(seconds=60))
        self.store.transition(opened, replace(opened, state=RecoveryState.SUCCEEDED), mitigation=self.mitigation)

    def tick(self) -> None:
        end_quarantines(self.store, self.remedies, self.fleet, self.now)

    def mode(self) -> BreakerOrder:
        view = self.breakers.view("gate")
        assert view is not None
        return view.mode


@pytest.fixture
def ward() -> Ward:
    return Ward()


def test_it_lasts_as_long_as_it_should(ward: Ward) -> None:
    ward.later(59)

    ward.tick()

    assert ward.mode() is BreakerOrder.FORCED_OPEN
    assert ward.store.mitigations() == [ward.mitigation]


def test_when_its_time_runs_out_callers_may_try_again_once(ward: Ward) -> None:
    ward.later(60)

    ward.tick()
    ward.tick()

    assert ward.mode() is BreakerOrder.AUTO
    assert ward.store.mitigations() == []
    assert ward.told("degradation:changed") == [], "what it had degraded tells of its own end"


def test_a_recovery_at_work_on_the_service_has_the_last_word(ward: Ward) -> None:
    ward.store.open_recovery(recovery("web", state=RecoveryState.IN_PROGRESS), None, [], [])
    ward.later(90)

    ward.tick()

    assert ward.mode() is BreakerOrder.FORCED_OPEN


@pytest.mark.parametrize("order", [BreakerOrder.METRICS_ONLY, BreakerOrder.FORCED_OPEN])
def test_an_operator_who_ordered_anything_keeps_it(ward: Ward, order: BreakerOrder) -> None:
    ward.breakers.operate("gate", order, "ann", "")
    ward.later(60)

    ward.tick()
    ward.later(3600)

    assert ward.mode() is order
    assert ward.store.mitigations() == []


def test_an_operators_order_that_comes_just_before_the_release_stays(ward: Ward) -> None:
    look = ward.breakers.view

    def look_and_be_overtaken(name: str) -> BreakerView | None:
        found = look(name)
        ward.breakers.operate("gate", BreakerOrder.FORCED_OPEN, "ann", "")
        return found

    ward.later(60)
    with patch.object(ward.breakers, "view", look_and_be_overtaken):
        ward.tick()

    assert ward.mode() is BreakerOrder.FORCED_OPEN


def test_of_a_service_that_is_not_declared_any_more_the_order_ends_by_itself(ward: Ward) -> None:
    ward.fleet = ward.fleet.model_copy(update={"services": {}})
    ward.later(60)

    ward.tick()

    assert ward.store.mitigations() == []
    assert ward.mode() is BreakerOrder.FORCED_OPEN
    ward.later(60)
    assert ward.mode() is BreakerOrder.AUTO


class Killed(BaseException):
    """The worker process is gone: nothing after this line runs, not even handlers."""


def test_a_breaker_is_let_go_when_every_worker_was_lost_and_no_platform_is_left_to_do_it() -> None:
    world = World("quarantine")
    breakers, degradations = MemoryBreakers(world.clock), MemoryDegradations(world.clock)
    breakers.count("gate", ok=True)
    remedies = build(replace(unconnected(DRIVERS, world.clock), breakers=breakers, degradations=degradations))
    world.registry = Registry("strategy")
    world.registry.add("quarantine", remedies["quarantine"])
    world.change("web", remedies={"quarantine": {"breaker": "gate", "ttl": 600}})
    world.use(world.store)
    recovery_id = world.report()

    directive = world.advance(recovery_id)
    with patch.object(degradations, "put", side_effect=Killed), patch.object(world.store, "release_lease"):
        while isinstance(directive, Execute):
            with pytest.raises(Killed):
                world.execute(directive)
            world.later(30)
            directive = next(iter(world.reaper.tick()), Wait(recovery_id, world.now))

    view = breakers.view("gate")
    assert view is not None
    assert (view.mode, view.mode_by) == (BreakerOrder.FORCED_OPEN, "quarantine of web"), "a worker had held it open"
    world.run(recovery_id)
    assert world.recovery(recovery_id).outcome is Outcome.FAILED

    world.later(660)

    view = breakers.view("gate")
    assert view is not None
    assert (view.mode, view.state) == (BreakerOrder.AUTO, BreakerState.CLOSED)
    end_quarantines(world.store, remedies, world.fleet, world.now)
    assert breakers.view("gate") == view, "a platform that comes back finds nothing to let go"
    assert world.store.mitigations() == []
