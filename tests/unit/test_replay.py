"""What was decided can be decided again: by the same configuration identically, by another one with a readable difference."""

from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from recovery.config.fleet import MaintenanceDeclaration
from recovery.decide.record import THRESHOLDS
from recovery.decide.replay import Replayed, replay
from recovery.detect.flapping import change_rate
from recovery.models import Action, Answer, Autonomy, Category, ServiceState, SilenceKind, Status
from recovery.ports import Execute
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from tests.world import World

WORLDS = 25
ROUNDS = 60


def again(world: World) -> list[Replayed]:
    return replay(world.at_work.bases(world.now.replace(year=2020), 100_000), world.fleet, world.registry)


def random_world(dice: Random) -> World:
    """Return a world of five services whose settings are drawn at random, so that every guard gets its turn."""
    platform: dict[str, Any] = {
        "autonomy": dice.choice(["auto", "auto", "approve", "suggest", "observe"]),
        "cooldown": dice.choice([0, 0, 30]),
        "max_attempts": dice.choice([1, 9]),
        "ineffective_after": 1,
        "dependency_patience": dice.choice([0, 20, 300]),
        "retry_failed_after": dice.choice([1, 10]),
        "act_from": dice.choice(["low", "high"]),
        "approval_timeout": 40,
        "dry_run": dice.random() < 0.05,
        "budget": {"percent": dice.choice([25, 100]), "storm_min": 3, "per_window": dice.choice([None, 5]), "window": 60},
    }
    approve = dice.choice([(), ("reload",)])
    world = World("restart", "reload", "degrade", platform=platform, approve=approve, managed=dice.random() > 0.05)
    world.change("web", verify_timeout=0.001)
    world.declare("cart", "mail", "db")
    world.declare("shop", depends_on=("cart", "mail"), dry_run=dice.random() < 0.1)
    if dice.random() < 0.3:
        window = MaintenanceDeclaration(name="nightly", at=world.now.time(), duration=20)
        world.fleet = world.fleet.model_copy(update={"maintenance": (window,)})
    return world


class Story:
    """What happens to the services, to the platform and through people, by the dice."""

    def __init__(self, world: World, dice: Random) -> None:
        self.world = world
        self.dice = dice
        self.services = list(world.fleet.services)
        self.silences: list[str] = []

    def live(self) -> None:
        things = [self.report, self.look, self.hush, self.lift, self.answer, self.trigger, self.change_weather]
        for _ in range(ROUNDS):
            self.dice.choices(things, weights=[3, 2, 1, 1, 1, 1, 1])[0]()
            self.world.later(self.dice.choice([0.25, 1, 3, 11]))
            for directive in self.world.reaper.tick():
                if isinstance(directive, Execute) and self.dice.random() < 0.8:
                    self.world.execute(directive)

    def report(self) -> None:
        occurred = self.world.now - timedelta(seconds=self.dice.choice([0, 0, 0, 40]))
        self.world.report(
            service=self.dice.choice(self.services),
            severity=self.dice.choice(["critical", "high", "medium"]),
            category=self.dice.choice(["service_unavailable", "unknown", "cache"]),
            recoverable=self.dice.random() > 0.1,
            occurred_at=occurred.isoformat(),
        )

    def look(self) -> None:
        now = self.world.now
        state = ServiceState(
            self.dice.choice(self.services),
            self.dice.choice([Status.HEALTHY, Status.UNHEALTHY]),
            since=now,
            seen_at=now,
            stable_since=now if self.dice.random() < 0.2 else None,
            change_rate=self.dice.random() * 100,
            flapping=self.dice.random() < 0.2,
        )
        self.world.at_work.record_sweep([], [], [state], [])

    def hush(self) -> None:
        kind, seconds = self.dice.choice(list(SilenceKind)), self.dice.choice([5.0, 30.0, None])
        self.silences.append(self.world.silence(kind, seconds, *self.dice.sample(self.services, 2)).id)

    def lift(self) -> None:
        if self.silences:
            self.world.at_work.lift_silence(self.silences.pop(), "bob", self.world.now)

    def answer(self) -> None:
        for row in self.world.at_work.open_recoveries():
            if self.world.at_work.approval(row.id):
                self.world.at_work.answer(row.id, self.dice.choice(list(Answer)), "ann", "", self.world.now)

    def trigger(self) -> None:
        self.world.desk.trigger(self.dice.choice(self.services), self.dice.choice([None, "restart"]), force=self.dice.random() < 0.3)

    def change_weather(self) -> None:
        self.world.healthy = self.dice.random() < 0.3
        self.world.blind = self.dice.choice([None, None, "no sweep for 99 s"])


def test_the_same_configuration_decides_every_random_story_as_it_was_decided() -> None:
    guards: dict[str, int] = {}
    for seed in range(WORLDS):
        dice = Random(seed)
        world = random_world(dice)
        Story(world, dice).live()
        made = again(world)

        assert [(seed, each.was, each.now) for each in made if not each.same] == []
        for each in made:
            for decision in each.basis.decisions:
                guards[str(decision["guard"])] = guards.get(str(decision["guard"]), 0) + 1

    unseen = {
        "approval",
        "kill_switch",
        "unmanaged",
        "unrecoverable",
        "healthy_again",
        "autonomy",
        "severity_policy",
        "dry_run",
        "maintenance",
        "silence",
        "deploy",
        "blind",
        "flapping",
        "dependency_down",
        "attempt_cap",
        "cooldown",
        "action_budget",
        "plan_exhausted",
        "all_clear",
    } - set(guards)
    assert unseen == set(), "every guard had something to say"


def test_what_a_database_gives_back_is_decided_the_same(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/history.db"
    migrate(url)
    store = SqlStore.open(url)
    dice = Random(7)
    world = random_world(dice)
    world.store = store  # type: ignore[assignment]
    world.use(store)
    try:
        Story(world, dice).live()
        made = again(world)
    finally:
        store.engine.dispose()

    assert len(made) > 20
    assert [(each.was, each.now) for each in made if not each.same] == []


def recorded(**platform: object) -> World:
    world = World("restart", "reload", platform=platform)
    world.run(world.report())
    return world


def changes(world: World) -> list[tuple[str, str]]:
    return [(each.was, each.now) for each in again(world) if not each.same]


def test_a_stricter_configuration_shows_what_it_would_have_held() -> None:
    world = recorded()
    world.change(autonomy=Autonomy.APPROVE)

    assert changes(world) == [("act restart by all_clear", "delay restart by approval until 2026-01-01T12:15:00+00:00")]


def test_another_plan_is_a_difference_that_names_both() -> None:
    world = recorded()
    world.change("web", plan={Category.SERVICE_UNAVAILABLE: ("reload",)})

    assert changes(world) == [("act restart by all_clear (plan: restart, then reload)", "act reload by all_clear (plan: reload)")]


def test_a_declared_window_would_have_held_it() -> None:
    world = recorded()
    window = MaintenanceDeclaration(name="noon", at=world.now.time(), duration=600)
    world.fleet = world.fleet.model_copy(update={"maintenance": (window,)})

    assert changes(world) == [("act restart by all_clear", "delay by maintenance until 2026-01-01T12:10:00+00:00")]


def test_a_service_that_is_no_longer_declared_would_be_left_alone() -> None:
    world = recorded()
    world.fleet = world.fleet.model_copy(update={"services": {"db": world.fleet.services["db"]}})

    assert changes(world) == [("act restart by all_clear", "nothing: web is not declared")]


def test_a_strategy_that_is_no_longer_installed_is_passed_over() -> None:
    world = recorded()
    del world.registry._members["restart"]

    ((_, now),) = changes(world)

    assert now == "act reload by all_clear (plan: reload)"


def test_a_longer_cooldown_says_until_when() -> None:
    world = World("restart", cooldown={"restart": 1})
    world.run(world.report())
    world.later(10)
    world.run(world.report())
    world.change("web", cooldown={"restart": 60})

    assert changes(world) == [("act restart by all_clear", "skip restart by cooldown until 2026-01-01T12:01:00+00:00")]


def test_a_shorter_cooldown_would_have_let_it_act() -> None:
    world = World("restart", cooldown={"restart": 60})
    world.run(world.report())
    world.later(10)
    world.run(world.report())
    world.change("web", cooldown={"restart": 5})
    world.fleet = world.fleet.model_copy(update={"version": "v2"})

    assert changes(world) == [("skip restart by cooldown until 2026-01-01T12:01:00+00:00", "act restart by all_clear")]


def test_a_root_that_it_does_not_depend_on_any_more_would_not_have_held_it() -> None:
    world = World("restart")
    world.see("db", Status.UNHEALTHY)
    world.advance(world.report())
    world.change("web", depends_on=())

    assert changes(world) == [("delay by dependency_down until 2026-01-01T12:05:00+00:00", "act restart by all_clear")]


def test_a_plan_that_is_older_than_the_configuration_it_was_decided_by_is_taken_as_it_was() -> None:
    world = World("restart", "reload")
    silence = world.silence(SilenceKind.SILENCE, 60)
    recovery_id = world.report()
    world.advance(recovery_id)
    world.change("web", plan={Category.SERVICE_UNAVAILABLE: ("reload",)})
    world.fleet = world.fleet.model_copy(update={"version": "v2"})
    world.store.lift_silence(silence.id, "ann", world.now)
    world.advance(recovery_id)

    held, acted = again(world)

    assert (held.same, acted.same) == (False, True), "what was planned under v1 is planned anew, what v2 decided is not"


def test_what_is_kept_has_no_free_text_of_the_report() -> None:
    world = World("restart")
    world.run(world.report(message="password=hunter2", stack="hunter2", details={"k": "hunter2"}, labels={"l": "hunter2"}))

    (basis,) = world.store.bases(world.now, 10)

    assert "hunter2" not in str(basis)
    assert basis.config_version == "v1"


def test_a_repeated_decision_is_kept_once() -> None:
    world = World("restart")
    world.see("db", Status.UNHEALTHY)
    world.report()
    for _ in range(20):
        world.later(1)
        world.reaper.tick()

    assert len(world.store.bases(world.now.replace(year=2020), 100)) == 1


def test_a_restore_is_replayed_as_it_was_planned() -> None:
    world = World("degrade")
    world.run(world.report())
    world.later(5)
    world.see("web", Status.HEALTHY, since=2)
    (restore,) = world.desk.restore_all()
    world.run(restore.recovery.id)

    assert [attempt.action for attempt in restore.recovery.plan.attempts] == [Action.REVERT]
    assert changes(world) == []


def test_a_remedy_that_was_passed_over_as_ineffective_is_passed_over_again() -> None:
    world = World("restart", "reload", cooldown={"restart": 0, "reload": 0}, platform={"retry_failed_after": 1, "ineffective_after": 1})
    world.healthy = False
    for _ in range(2):
        world.run(world.report())
        world.later(2)

    assert any("ineffective" in each.was for each in again(world))
    assert changes(world) == []
    world.change(ineffective_after=2)
    assert [now for _, now in changes(world)] == ["act restart by all_clear"]


@pytest.mark.parametrize("unknown", [True, False])
def test_facts_of_a_later_version_are_read_as_far_as_they_are_known(unknown: bool) -> None:
    world = recorded()
    (basis,) = world.store.bases(world.now, 10)
    facts = {**basis.facts, "moon": "full"} if unknown else {name: value for name, value in basis.facts.items() if name != "blind"}

    (made,) = replay([replace(basis, facts=facts)], world.fleet, world.registry)

    assert made.same


BUSY = "10" * 10 + "1"
"""Looks that changed each time."""
SETTLING = "1" * 12 + "01010" + "0" * 4
"""Looks of which some changed a while ago."""


def flapped(recent: str, *, flapping: bool) -> World:
    """A world in which it was decided about a service with these looks under the thresholds 30 and 25."""
    world = World("restart", platform={"flap_high": 30, "flap_low": 25})
    state = ServiceState("web", Status.UNHEALTHY, since=world.now, seen_at=world.now, recent=recent, change_rate=change_rate(recent))
    world.store.record_sweep([], [], [replace(state, flapping=flapping)], [])
    world.advance(world.report())
    return world


def by_thresholds(world: World, high: float, low: float) -> list[tuple[str, str]]:
    world.change(flap_high=high, flap_low=low)
    world.fleet = world.fleet.model_copy(update={"version": "v2"})
    return changes(world)


HELD, ACTED = "delay by flapping", "act restart by all_clear"


@pytest.mark.parametrize(
    ("recent", "flapping", "high", "low", "expected"),
    [
        (BUSY, True, 101, 90, [(HELD, ACTED)]),
        (BUSY, True, 30, 25, []),
        (BUSY, True, 20, 15, []),
        (SETTLING, True, 40, 35, [(HELD, ACTED)]),
        (SETTLING, True, 40, 25, [(HELD, ACTED)]),
        (SETTLING, True, 29, 20, []),
        (SETTLING, False, 20, 15, [(ACTED, HELD)]),
        (SETTLING, False, 29.9, 20, []),
    ],
)
def test_flapping_is_judged_anew_by_the_thresholds_of_the_other_configuration(
    recent: str, flapping: bool, high: float, low: float, expected: list[tuple[str, str]]
) -> None:
    assert 25 < change_rate(SETTLING) < 29
    assert by_thresholds(flapped(recent, flapping=flapping), high, low) == expected


def test_looks_that_were_recorded_before_thresholds_were_count_as_they_did_between_them() -> None:
    world = flapped(SETTLING, flapping=True)
    (basis,) = world.store._tables.bases
    world.store._tables.bases[:] = [replace(basis, facts={name: fact for name, fact in basis.facts.items() if name != THRESHOLDS})]

    assert by_thresholds(world, 40, 25) == []


def test_a_platform_that_was_blind_stays_so_whatever_the_other_configuration_says() -> None:
    world = World("restart")
    world.blind = "no sweep for 99 s"
    world.advance(world.report())
    world.blind = None
    world.change(blind_after=9_999.0)
    world.fleet = world.fleet.model_copy(update={"version": "v2"})

    assert changes(world) == []
