"""A quarantine ends when its time runs out, sick or not, and its breaker with it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from recovery.breaker import MemoryBreakers
from recovery.degrade import MemoryDegradations
from recovery.models import BreakerOrder, Mitigation, RecoveryState
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
        self.breakers = MemoryBreakers()
        nothing = unconnected(DRIVERS, self.clock)
        self.remedies = build(replace(nothing, breakers=self.breakers, degradations=MemoryDegradations(self.clock)))
        self.change("web", remedies={"quarantine": {"breaker": "gate"}})
        self.breakers.operate("gate", BreakerOrder.FORCED_OPEN, "quarantine", "")
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


def test_when_its_time_runs_out_callers_may_try_again_and_it_is_told_once(ward: Ward) -> None:
    ward.later(60)

    ward.tick()
    ward.tick()

    assert ward.mode() is BreakerOrder.AUTO
    assert ward.store.mitigations() == []
    assert [event.data["change"] for event in ward.told("degradation:changed")] == ["lapsed"]


def test_a_recovery_at_work_on_the_service_has_the_last_word(ward: Ward) -> None:
    ward.store.open_recovery(recovery("web", state=RecoveryState.IN_PROGRESS), None, [], [])
    ward.later(3600)

    ward.tick()

    assert ward.mode() is BreakerOrder.FORCED_OPEN


def test_an_operator_who_chose_another_mode_keeps_it(ward: Ward) -> None:
    ward.breakers.operate("gate", BreakerOrder.METRICS_ONLY, "ann", "")
    ward.later(60)

    ward.tick()

    assert ward.mode() is BreakerOrder.METRICS_ONLY
    assert ward.store.mitigations() == []


def test_a_service_that_is_not_declared_any_more_only_loses_its_row(ward: Ward) -> None:
    ward.fleet = ward.fleet.model_copy(update={"services": {}})
    ward.later(60)

    ward.tick()

    assert ward.store.mitigations() == []
    assert ward.mode() is BreakerOrder.FORCED_OPEN
