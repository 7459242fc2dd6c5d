"""A remedy that renews an older degradation, and is taken back, leaves the older one as it was."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from recovery.breaker import MemoryBreakers
from recovery.errors import LeaseLost, StepFailed
from recovery.models import BreakerOrder, BreakerView, Degradation, JsonObject, Level, Outcome, utcnow
from recovery.ports import StepWork
from tests.contract.strategy_rigs import Attempted, Bench, declare, journaled
from tests.world import World

LAYERS = {"degrade": "recovery", "throttle": "throttle", "quarantine": "quarantine"}
REMEDIES: dict[str, JsonObject] = {
    "degrade": {"level": "emergency", "features": ["search"], "ttl": 900},
    "throttle": {"percent": 5, "ttl": 900},
    "quarantine": {"ttl": 900},
}


class Renewing:
    """`shop` is degraded by an older recovery; the fence of whoever acts now is 7."""

    def __init__(self, home: Path, strategy: str) -> None:
        self.world = World()
        self.bench = Bench(home, clock=self.world.clock)
        self.bench.degradations._clock = self.world.clock
        self.strategy = strategy
        self.service = declare(remedies={strategy: REMEDIES[strategy]})
        now = self.world.now
        self.older = Degradation(
            "shop",
            Level.PARTIAL,
            now - timedelta(seconds=600),
            now + timedelta(seconds=300),
            features_off=("facets",),
            capabilities={"requests": 40},
            reason="the disks are slow",
            recovery_id="an older one",
            fence=3,
            layer=LAYERS[strategy],
            ramp=(10, 50),
            ramp_stage=20,
            by=strategy,
        )
        self.bench.degradations.put(self.older)

    @property
    def put(self) -> StepWork:
        return self.attempted().works[0]

    def attempted(self, fence: int = 7) -> Attempted:
        return self.bench.steps(self.service, self.strategy, fence=fence)

    def undo(self, intent: JsonObject, result: JsonObject | None, fence: int = 7) -> StepWork:
        undo = self.attempted(fence).works[0].undo
        assert undo is not None
        step = undo(intent, result)
        assert step is not None
        return step

    def renew(self) -> tuple[JsonObject, JsonObject]:
        """Renew the older one and return what the journal knows of that."""
        intent = journaled(self.put.prepare())
        result = journaled(self.put.run(intent))
        assert self.in_force() != self.older
        return intent, result

    def in_force(self) -> Degradation | None:
        return self.bench.degradations.current("shop", LAYERS[self.strategy])


@pytest.fixture(params=list(LAYERS))
def renewing(request: pytest.FixtureRequest, tmp_path: Path) -> Renewing:
    return Renewing(tmp_path, request.param)


def test_undoing_a_renewal_puts_the_older_one_back_with_its_own_end_reason_and_author(renewing: Renewing) -> None:
    intent, result = renewing.renew()

    told = renewing.undo(intent, result).run({})

    assert renewing.in_force() == replace(renewing.older, fence=7), "and nobody with an older fence can change it any more"
    assert told["until"] == renewing.older.until.isoformat()


def test_undoing_where_nothing_was_in_force_before_leaves_nothing(renewing: Renewing) -> None:
    renewing.bench.degradations.clear("shop", None, renewing.older.layer)
    intent, result = renewing.renew()

    renewing.undo(intent, result).run({})

    assert renewing.in_force() is None


def test_a_successor_knows_the_older_one_from_the_journal(renewing: Renewing) -> None:
    intent, _lost = renewing.renew()

    found = renewing.attempted(8).works[0].reconcile(intent)
    renewing.undo(intent, found, 8).run({})

    assert renewing.in_force() == replace(renewing.older, fence=8)


def test_an_undo_that_was_done_before_its_worker_was_lost_is_found_done(renewing: Renewing) -> None:
    intent, result = renewing.renew()
    undo = renewing.undo(intent, result, 8)
    seen = journaled(undo.prepare())
    assert undo.reconcile(seen) is None, "not done yet"

    done = undo.run(seen)

    assert renewing.undo(intent, result, 9).reconcile(seen) == done


def test_an_older_one_whose_time_is_over_meanwhile_does_not_come_back(renewing: Renewing) -> None:
    intent, result = renewing.renew()
    renewing.world.later(345)

    told = renewing.undo(intent, result).run({})

    assert renewing.in_force() is None
    assert told == {"level": "normal"}


def test_an_older_one_that_would_be_ending_by_now_goes_on_ending(renewing: Renewing) -> None:
    intent, result = renewing.renew()
    renewing.world.later(310)

    renewing.undo(intent, result).run({})

    found = renewing.in_force()
    assert found is not None
    assert (found.until, found.ramp) == (renewing.older.until, (10, 50))


def test_what_a_person_ended_meanwhile_does_not_come_back(renewing: Renewing) -> None:
    intent, result = renewing.renew()
    renewing.bench.degradations.clear("shop", None, renewing.older.layer)

    renewing.undo(intent, result).run({})

    assert renewing.in_force() is None


@pytest.mark.parametrize("fence", [7, 9])
def test_only_whoever_has_the_service_puts_the_older_one_back(renewing: Renewing, fence: int) -> None:
    intent, result = renewing.renew()
    mine = renewing.in_force()
    assert mine is not None
    attempted = renewing.attempted()
    undo = attempted.works[0].undo
    assert undo is not None
    step = undo(intent, result)
    assert step is not None
    attempted.lost = fence == 7
    renewing.bench.degradations.put(replace(mine, fence=fence))

    with pytest.raises((LeaseLost, StepFailed)):
        step.run({})

    assert renewing.in_force() == replace(mine, fence=fence)


def test_a_journal_of_an_older_version_does_not_know_the_older_one_and_ends_what_was_put(renewing: Renewing) -> None:
    intent, result = renewing.renew()
    del intent["before"]

    renewing.undo(intent, result).run({})

    found = renewing.in_force()
    assert found is None or found.until <= renewing.world.now


@pytest.mark.parametrize("strategy", list(LAYERS))
def test_the_engine_takes_a_renewal_back_that_was_not_verified(tmp_path: Path, strategy: str) -> None:
    bench, now = Bench(tmp_path), utcnow()
    until, layer = now + timedelta(minutes=9), LAYERS[strategy]
    older = Degradation("shop", Level.PARTIAL, now, until, reason="the disks are slow", recovery_id="an older one", layer=layer)
    bench.degradations.put(older)
    service = declare(remedies={strategy: {**REMEDIES[strategy], "verify": ["shop.http"]}})
    bench.probe.broken["shop.http"] = "still sick"

    done = bench.carry_out(service.model_copy(update={"verify_timeout": 0.1}), strategy)

    assert done.attempt.outcome is Outcome.INEFFECTIVE
    assert f"rolled back: {'isolate' if strategy == 'quarantine' else strategy}" in done.attempt.reason
    found = bench.degradations.current("shop", layer)
    assert found is not None
    assert replace(found, fence=0) == older


class Guarded(Renewing):
    """`shop` is in quarantine for 300 more seconds, with its breaker held open for 360 by an older recovery."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, "quarantine")
        self.bench.breakers = MemoryBreakers(self.world.clock)
        self.service = declare(remedies={"quarantine": {"ttl": 900, "breaker": "gate"}})
        self.bench.breakers.operate("gate", BreakerOrder.FORCED_OPEN, "quarantine of shop", "", 360)
        self.held_until = self.world.now + timedelta(seconds=360)

    def take_back(self, intents: dict[str, JsonObject], results: dict[str, JsonObject]) -> None:
        """Undo every step as the engine does, last one first."""
        for work in reversed(self.attempted(8).works):
            assert work.undo is not None
            undone = work.undo(intents[work.name], results[work.name])
            assert undone is not None
            undone.run(undone.prepare())

    def hold(self) -> tuple[dict[str, JsonObject], dict[str, JsonObject]]:
        """Renew the quarantine, breaker and all."""
        intents, results = {}, {}
        for work in self.attempted().works:
            intents[work.name] = journaled(work.prepare())
            results[work.name] = journaled(work.run(intents[work.name]))
        assert self.gate().mode_until == self.world.now + timedelta(seconds=960)
        return intents, results

    def gate(self) -> BreakerView:
        found = self.bench.breakers.view("gate")
        assert found is not None
        return found


def test_undoing_a_renewed_quarantine_leaves_the_breaker_to_the_older_one_until_when_that_held_it(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path)
    done = guarded.hold()
    guarded.world.later(60)

    guarded.take_back(*done)

    assert guarded.in_force() == replace(guarded.older, fence=8)
    assert (guarded.gate().mode, guarded.gate().mode_by) == (BreakerOrder.FORCED_OPEN, "quarantine of shop")
    assert guarded.gate().mode_until == guarded.held_until
    guarded.world.later(301)
    assert guarded.gate().mode is BreakerOrder.AUTO


def test_a_breaker_that_the_older_quarantine_would_have_let_go_by_now_is_let_go(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path)
    done = guarded.hold()
    guarded.world.later(361)

    guarded.take_back(*done)

    assert guarded.gate().mode is BreakerOrder.AUTO


@pytest.mark.parametrize("order", [BreakerOrder.AUTO, BreakerOrder.DISABLED])
def test_a_breaker_that_an_operator_set_meanwhile_stays_as_it_was_set(tmp_path: Path, order: BreakerOrder) -> None:
    guarded = Guarded(tmp_path)
    done = guarded.hold()
    guarded.bench.breakers.operate("gate", order, "ann", "")

    guarded.take_back(*done)

    assert guarded.gate().mode is order
