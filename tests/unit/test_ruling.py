"""Rules of degradation through the engine: what is put in force and told, once per fleet, and what ends it."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from recovery.breaker import BreakerOptions, MemoryBreakers
from recovery.config.degradation import CapabilityDeclaration, DegradationRule, FeatureDeclaration
from recovery.degrade import MemoryDegradations
from recovery.degrade.keys import SYSTEM
from recovery.degrade.ramp import restored
from recovery.engine.degrading import Degrading
from recovery.engine.ruling import Ruling
from recovery.errors import BreakerSpoiled, StoreUnavailable
from recovery.models import BreakerView, Degradation, Event, Level, RuleStanding, ServiceState, Status
from recovery.store.memory import MemoryStore
from tests.world import World

LAYER = "rule:weak"


class Ruled(World):
    """A world with rules, and a sweep before every look unless it is blind."""

    def __init__(self, *rules: dict[str, object]) -> None:
        super().__init__("degrade")
        self.degradations = MemoryDegradations(self.clock)
        self.breakers = MemoryBreakers(options=BreakerOptions(failure_threshold=1))
        self.scores = {"web": 100, "db": 100}
        self.rule(*rules)
        self.ruling = self.judge()

    def rule(self, *rules: dict[str, object]) -> None:
        """Declare these rules instead of those before; by default about `web`."""
        usual: dict[str, object] = {"name": "weak", "service": "web", "when": "health_score < 50", "until": "health_score > 65"}
        usual |= {"for": 3, "calm": 5, "level": "limited", "ttl": 60, "ramp": [10, 50], "ramp_stage": 10}
        declared = tuple(DegradationRule.model_validate(usual | rule) for rule in rules)
        self.fleet = self.fleet.model_copy(update={"degradation": declared})

    def judge(self) -> Ruling:
        return Ruling(self.store, self.degradations, self.breakers, lambda: self.fleet, self.clock)

    def sweep(self) -> None:
        for name, score in self.scores.items():
            status = Status.HEALTHY if score == 100 else Status.UNHEALTHY
            self.store.record_sweep([], [], [ServiceState(name, status, score, since=self.now, seen_at=self.now)], [], now=self.now)

    def seconds(self, number: int, *, blind: bool = False) -> None:
        """Let so many seconds pass, with a look after each."""
        for _ in range(number):
            self.later(1)
            if not blind:
                self.sweep()
            self.ruling.look()

    def now_in(self, layer: str = LAYER, service: str = "web") -> Degradation | None:
        """Return what is in force, restoring or not."""
        return self.degradations.current(service, layer)

    def changes(self) -> list[str]:
        return [str(event.data["change"]) for event in self.told("degradation:changed")]


@pytest.fixture
def world() -> Ruled:
    return Ruled({})


def sicken(world: Ruled) -> Degradation:
    """Let `web` be sick until the rule holds."""
    world.scores["web"] = 0
    world.seconds(4)
    found = world.now_in()
    assert found is not None
    return found


def test_a_rule_degrades_after_its_time_and_says_so_once(world: Ruled) -> None:
    world.scores["web"] = 40
    world.seconds(3)
    assert world.now_in() is None

    world.seconds(10)

    found = world.now_in()
    assert found is not None
    assert (found.level, found.by, found.reason, found.ramp) == (Level.LIMITED, "rule weak", "health_score < 50", (10, 50))
    assert world.changes() == ["put"]
    event = world.told("degradation:changed")[0]
    assert (event.service, event.data["layer"], event.data["level"]) == ("web", LAYER, "limited")
    assert [(row.action, row.actor) for row in world.store.audits] == [("degradation_changed", "rule weak")]


def test_between_the_two_numbers_nothing_changes(world: Ruled) -> None:
    sicken(world)

    world.scores["web"] = 60
    world.seconds(200)

    found = world.now_in()
    assert found is not None, "renewed although its condition no longer holds, because nothing lets go"
    assert found.until > world.now
    assert world.changes() == ["put"]


def test_it_lets_go_by_its_ramp_when_it_was_calm_for_long_enough(world: Ruled) -> None:
    sicken(world)
    world.scores["web"] = 100

    world.seconds(5)
    assert world.changes() == ["put"]
    world.seconds(1)

    found = world.now_in()
    assert found is not None
    assert world.changes() == ["put", "ending"]
    shares = []
    for _ in range(20):
        shares.append(restored(world.now.timestamp(), found.until.timestamp(), found.ramp, found.ramp_stage))
        world.seconds(1)
    assert shares == [10] * 10 + [50] * 10
    assert world.now_in() is None


def test_a_rule_that_holds_again_while_it_restores_is_in_force_at_once_again(world: Ruled) -> None:
    sicken(world)
    world.scores["web"] = 100
    world.seconds(10)

    renewed = sicken(world)

    assert renewed.until > world.now
    assert renewed.since > world.now - timedelta(seconds=2)
    assert world.changes() == ["put", "ending", "put"]


def test_a_blind_platform_lets_what_is_in_force_run_out_and_begins_anew_when_it_sees(world: Ruled) -> None:
    sicken(world)

    world.seconds(200, blind=True)

    assert world.now_in() is None
    assert world.changes() == ["put", "lapsed"]
    assert not world.store.rule_standings()["weak"].in_force
    world.seconds(3)
    assert world.now_in() is None
    world.seconds(1)
    assert world.now_in() is not None


def test_a_blind_platform_degrades_nothing_new(world: Ruled) -> None:
    world.scores["web"] = 0
    world.seconds(2)

    world.seconds(300, blind=True)

    assert world.changes() == []


def test_a_service_that_nobody_looks_at_any_more_is_judged_by_nothing(world: Ruled) -> None:
    world.scores["web"] = 0
    world.seconds(1)
    del world.scores["web"]

    world.seconds(300)

    assert world.changes() == []


def test_what_redis_lost_is_put_again_without_a_word(world: Ruled) -> None:
    sicken(world)
    world.degradations.clear("web", None, LAYER)

    world.seconds(1)

    assert world.now_in() is not None
    assert world.changes() == ["put"]


def test_a_restart_forgets_nothing(world: Ruled) -> None:
    world.scores["web"] = 0
    world.seconds(3)

    world.ruling = world.judge()
    world.seconds(1)

    assert world.now_in() is not None


def test_two_judges_at_once_tell_of_it_once(world: Ruled, monkeypatch: pytest.MonkeyPatch) -> None:
    other, real = world.judge(), world.store.move_rule

    def crossed(before: RuleStanding | None, after: RuleStanding | None, events: Sequence[Event] = ()) -> bool:
        if events:
            monkeypatch.setattr(world.store, "move_rule", real)
            other.look()  # sees what this judge saw, and is faster
        return real(before, after, events)

    monkeypatch.setattr(world.store, "move_rule", crossed)

    sicken(world)

    assert world.changes() == ["put"]
    assert len(world.store.audits) == 1
    assert world.store.rule_standings()["weak"].in_force


def crashing(world: Ruled, verb: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let Redis be away once for `verb`."""

    def away(*_: object, **__: object) -> bool:
        monkeypatch.undo()
        raise StoreUnavailable

    return lambda: monkeypatch.setattr(world.degradations, verb, away)


def test_a_judge_that_is_lost_before_it_could_put_is_made_up_for(world: Ruled, monkeypatch: pytest.MonkeyPatch) -> None:
    world.scores["web"] = 0
    world.seconds(3)
    crashing(world, "put", monkeypatch)()

    with pytest.raises(StoreUnavailable):
        world.seconds(1)
    assert world.now_in() is None
    world.seconds(1)

    assert world.now_in() is not None
    assert world.changes() == ["put"]


def test_a_judge_that_is_lost_before_it_could_let_go_is_made_up_for(world: Ruled, monkeypatch: pytest.MonkeyPatch) -> None:
    sicken(world)
    world.scores["web"] = 100
    world.seconds(5)
    crashing(world, "end", monkeypatch)()

    with pytest.raises(StoreUnavailable):
        world.seconds(1)
    world.seconds(1)

    found = world.now_in()
    assert found is not None
    assert found.until <= world.now
    assert world.changes() == ["put", "ending"]


def test_a_rule_that_is_changed_while_it_holds_is_put_in_force_as_it_is_now(world: Ruled) -> None:
    sicken(world)

    world.rule({"level": "emergency"})
    world.seconds(3)

    found = world.now_in()
    assert found is not None
    assert found.level is Level.EMERGENCY
    assert world.changes() == ["put", "put"]


@pytest.mark.parametrize("changed", [(), ({"service": "db"},)])
def test_a_rule_that_is_gone_or_about_another_service_ends_what_it_put(world: Ruled, changed: tuple[dict[str, object], ...]) -> None:
    sicken(world)

    world.rule(*changed)
    world.seconds(1)

    found = world.now_in()
    assert found is not None
    assert found.until <= world.now
    assert world.changes() == ["put", "ending"]
    assert world.told("degradation:changed")[-1].data["reason"] == "the rule is not declared any more"
    assert world.store.rule_standings() == {}


def test_a_dry_run_degrades_nothing(world: Ruled) -> None:
    world.change(dry_run=True)
    world.scores["web"] = 0

    world.seconds(10)

    assert world.changes() == []


def test_what_a_level_costs_is_told_to_whoever_reads_it(world: Ruled) -> None:
    features = {"extras": FeatureDeclaration(priority=20), "core": FeatureDeclaration(priority=100)}
    capabilities = {"workers": CapabilityDeclaration(partial=60)}
    world.fleet = world.fleet.model_copy(update={"features": features, "capabilities": capabilities})

    found = sicken(world)

    assert found.features_off == ("extras",)
    assert found.capabilities == {"workers": 60}


@pytest.mark.parametrize(
    ("when", "score"),
    [("health_score < 60", 0), ("unhealthy_percent >= 50", 0), ("open_recoveries > 0", 100), ("open_breakers > 0", 100)],
)
def test_a_rule_about_the_system_is_judged_by_the_whole_of_it(when: str, score: int) -> None:
    world = Ruled({"service": None, "when": when, "until": None, "for": 0})
    world.seconds(2)
    assert world.changes() == []

    world.scores["web"] = score
    if when.startswith("open_recoveries"):
        world.report()
    if when.startswith("open_breakers"):
        world.breakers.count("web", ok=False)
    world.seconds(2)

    assert world.now_in(service=SYSTEM) is not None
    assert world.changes() == ["put"]


def test_a_person_who_ends_a_rule_by_force_has_the_last_word_until_it_lets_go_itself(world: Ruled) -> None:
    sicken(world)

    Degrading(world.store, world.degradations, lambda: world.fleet, world.clock).force_recover("web", "ann", "I know better")
    world.seconds(200)
    assert world.now_in() is None

    world.scores["web"] = 100
    world.seconds(10)
    sicken(world)
    assert world.changes() == ["put", "ended", "put"]
    assert [row.actor for row in world.store.audits] == ["rule weak", "ann", "rule weak"]


def test_what_a_person_ended_by_force_stays_so_after_an_outage_longer_than_the_ttl(world: Ruled) -> None:
    sicken(world)
    Degrading(world.store, world.degradations, lambda: world.fleet, world.clock).force_recover("web", "ann", "I know better")

    world.later(3600)
    world.seconds(100)

    assert world.now_in() is None
    assert world.changes() == ["put", "ended"]


def test_a_rule_that_was_taken_out_and_declared_anew_degrades_at_once_although_its_old_ramp_is_under_way(world: Ruled) -> None:
    sicken(world)
    world.seconds(200)
    world.rule()
    world.seconds(1)
    world.rule({})
    world.seconds(4)

    found = world.now_in()
    assert found is not None
    assert found.until > world.now


def test_breakers_that_cannot_be_listed_hold_up_only_the_rule_that_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Ruled({"for": 0}, {"name": "broken", "service": None, "when": "open_breakers > 0", "until": None, "for": 0, "calm": 0})
    world.breakers.count("gate", ok=False)
    world.seconds(1)
    assert world.now_in("rule:broken", SYSTEM)

    def foreign() -> list[BreakerView]:
        raise BreakerSpoiled("the list of all breakers is a string")

    monkeypatch.setattr(world.breakers, "views", foreign)
    world.scores["web"] = 10
    world.seconds(3)

    assert world.now_in(), "another rule is judged all the same"
    assert world.now_in("rule:broken", SYSTEM), "what nobody can tell ends nothing before its time"


def test_a_database_that_was_restored_neither_keeps_a_rule_from_degrading_nor_from_letting_go(world: Ruled) -> None:
    sicken(world)
    old = world.store.rule_standings()["weak"]
    world.seconds(200)
    later = world.store.rule_standings()["weak"]
    assert world.store.move_rule(later, None)
    assert world.store.move_rule(None, old)

    world.seconds(40)
    found = world.now_in()
    assert found is not None
    assert found.until > world.now, "renewed"
    world.scores["web"] = 100
    world.seconds(6)

    found = world.now_in()
    assert found is None or found.until <= world.now, "let go"


def lose_the_database(world: Ruled) -> None:
    """Go on with an empty one; Redis still has what rules put."""
    world.store = MemoryStore()
    world.ruling = world.judge()


def test_what_a_rule_put_before_the_database_was_lost_is_renewed_while_nothing_lets_go(world: Ruled) -> None:
    before = sicken(world)
    lose_the_database(world)
    world.scores["web"] = 60

    world.seconds(200)

    found = world.now_in()
    assert found is not None
    assert (found.since, found.until > world.now) == (before.since, True)
    assert world.changes() == [], "it was told before"


def test_what_a_rule_put_before_the_database_was_lost_is_let_go_when_it_was_calm_for_long_enough(world: Ruled) -> None:
    sicken(world)
    world.seconds(200)
    lose_the_database(world)
    world.scores["web"] = 100

    world.seconds(5)
    found = world.now_in()
    assert found is not None
    assert found.until > world.now
    assert world.changes() == []
    world.seconds(1)

    found = world.now_in()
    assert found is not None
    assert found.until <= world.now, "its ramp began"
    assert world.changes() == ["ending"]
    assert not world.store.rule_standings()["weak"].in_force
    world.seconds(30)
    assert world.now_in() is None
    assert world.changes() == ["ending"]


def test_a_ramp_that_was_under_way_when_the_database_was_lost_goes_on(world: Ruled) -> None:
    sicken(world)
    world.scores["web"] = 100
    world.seconds(8)
    lose_the_database(world)

    world.seconds(4)

    found = world.now_in()
    assert found is not None
    assert found.until <= world.now
    assert world.changes() == []
    assert world.store.rule_standings() == {}


@pytest.mark.parametrize("changed", [(), ({"service": "db"},), ({"name": "other", "when": "health_score < 1"},)])
def test_what_was_put_by_a_rule_that_is_gone_since_the_database_was_lost_is_ended(
    world: Ruled, changed: tuple[dict[str, object], ...]
) -> None:
    sicken(world)
    lose_the_database(world)
    world.rule(*changed, {"name": "unrelated", "service": "db"})

    world.seconds(2)

    found = world.now_in()
    assert found is not None
    assert found.until <= world.now
    assert world.changes() == ["ending"]
    assert "weak" not in {each.rule for each in world.store.rule_standings().values() if each.service == "web"}


def test_what_others_put_is_none_of_the_judges_business(world: Ruled) -> None:
    now = world.now
    for layer in ("recovery", "manual", "throttle"):
        world.degradations.put(Degradation("web", Level.PARTIAL, now, now + timedelta(hours=1), layer=layer))

    world.seconds(100)

    assert world.store.rule_standings() == {}
    assert all(world.now_in(layer) for layer in ("recovery", "manual", "throttle"))


def test_a_rule_that_a_person_overrules_right_after_the_database_was_lost_stays_without_effect(world: Ruled) -> None:
    sicken(world)
    lose_the_database(world)
    world.seconds(1)

    Degrading(world.store, world.degradations, lambda: world.fleet, world.clock).force_recover("web", "ann", "I know better")
    world.seconds(200)

    assert world.now_in() is None


def test_two_judges_take_over_once(world: Ruled) -> None:
    sicken(world)
    lose_the_database(world)
    other = world.judge()
    world.scores["web"] = 100

    for _ in range(10):
        world.seconds(1)
        other.look()

    assert world.changes() == ["ending"]


def test_a_database_that_was_restored_from_before_the_rule_held_takes_over_too(world: Ruled) -> None:
    world.scores["web"] = 0
    world.seconds(2)
    early = world.store.rule_standings()["weak"]
    world.seconds(200)
    lose_the_database(world)
    assert world.store.move_rule(None, early)
    world.scores["web"] = 100

    world.seconds(7)

    found = world.now_in()
    assert found is None or found.until <= world.now
    assert world.changes() == ["ending"]


def test_a_judge_that_is_lost_before_it_could_let_go_what_was_taken_over_is_made_up_for(
    world: Ruled, monkeypatch: pytest.MonkeyPatch
) -> None:
    sicken(world)
    world.seconds(300)
    lose_the_database(world)
    world.scores["web"] = 100
    world.seconds(5)
    crashing(world, "end", monkeypatch)()

    with pytest.raises(StoreUnavailable):
        world.seconds(1)
    world.seconds(1)

    found = world.now_in()
    assert found is not None
    assert found.until <= world.now
    assert world.changes() == ["ending"]


def test_a_fence_that_no_rule_can_have_come_to_is_not_taken_over(world: Ruled) -> None:
    alien = Degradation("web", Level.PARTIAL, world.now, world.now + timedelta(hours=1), layer=LAYER, fence=10**30)
    world.degradations.put(alien)

    world.seconds(2)

    assert world.store.rule_standings() == {}


def test_a_clock_that_was_set_back_neither_degrades_early_nor_holds_for_ever(world: Ruled) -> None:
    sicken(world)

    world.later(-3600)
    world.seconds(2)
    found = world.now_in()
    assert found is not None
    assert found.until <= world.now + timedelta(seconds=61), "renewed by the clock that is right now"
    world.scores["web"] = 100
    world.seconds(10)

    found = world.now_in()
    assert found is not None
    assert found.until <= world.now


def test_a_rule_that_never_held_writes_nothing(world: Ruled) -> None:
    world.seconds(50)

    assert world.store.rule_standings() == {}
