"""The fleet as a whole: how much is recovered at once, in which order, and what a storm changes."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from recovery.decide import budget
from recovery.decide.budget import storm_from
from recovery.models import Attempt, Choice, Kind, Load, Recovery, RecoveryState, Severity
from recovery.ports import Execute, Wait
from tests.world import World

PATIENCE = 3_000
"""Ticks in which everything must be worked off."""
SEVERITIES = {"web": "high", "svc-0000": "critical", "svc-0001": "high"}


def fleet_of(size: int, **platform: object) -> tuple[World, list[str]]:
    """Return a world with `size` services, and the names of all but `db`, which is never sick."""
    world = World("restart", platform={"cooldown": 0, **platform})
    names = [f"svc-{number:04}" for number in range(size - 2)]
    world.declare(*names)
    world.change("web", depends_on=())
    return world, ["web", *names]


def at_work(world: World) -> int:
    return sum(row.state is RecoveryState.IN_PROGRESS for row in world.store.open_recoveries())


class Crew:
    """What the ticks and the workers do: every attempt that is sent is carried out a tick later. Notes how many were at work at once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sent: list[Execute] = []
        self.begun: list[str] = []
        self.most = self.most_in_storm = 0

    def tick(self) -> None:
        finished, self.sent = self.sent, []
        for directive in finished:
            self.world.execute(directive)
            self.obey(self.world.advance(directive.recovery_id))
        self.world.later(1)
        for found in self.world.reaper.tick():
            self.obey(found)
        self.most = max(self.most, at_work(self.world))
        if len(self.world.store.open_recoveries()) >= storm_from(self.world.fleet):
            self.most_in_storm = self.most

    def obey(self, directive: object) -> None:
        if isinstance(directive, Execute):
            self.sent.append(directive)
            self.begun.append(directive.service)

    def work_off(self) -> int:
        for ticks in range(PATIENCE):
            if not self.world.store.open_recoveries():
                return ticks
            self.tick()
        pytest.fail(f"still open: {len(self.world.store.open_recoveries())}")


@pytest.mark.slow
def test_a_thousand_services_that_fail_at_once_are_worked_off_by_urgency_within_the_budget() -> None:
    world, names = fleet_of(1_001, budget={"percent": 10, "storm_percent": 5})
    critical = set(names[-40:])
    for name in names:
        world.later(0.001)
        world.report(service=name, severity="critical" if name in critical else "medium")
    crew = Crew(world)

    crew.work_off()

    assert (crew.most_in_storm, crew.most) == (50, 100), "5 % of 1,001 while it is a storm, 10 % afterwards"
    assert len(crew.begun) == len(set(crew.begun)) == 1_000
    late = [name for name in crew.begun[200:] if name in critical]
    assert late == [], "the critical ones were reported last, and begun among the first"
    assert len(world.store.open_recoveries()) == 0


def test_the_budget_goes_to_the_most_severe_then_to_the_oldest() -> None:
    world, names = fleet_of(8, budget={"percent": 20})
    crew = Crew(world)
    for name, severity in zip(names, ["low", "high", "medium", "critical", "high", "low"], strict=False):
        world.later(1)
        first = world.advance(world.report(service=name, severity=severity))
        if name == names[0]:
            assert isinstance(first, Execute)
            crew.sent = [first]

    crew.work_off()

    assert crew.most == 1
    assert crew.begun == [names[place] for place in (3, 1, 4, 2, 5)], "the first one began when it was reported, and nothing waited"


def test_a_recovery_that_was_held_between_two_attempts_does_not_wait_for_its_own_beginning() -> None:
    world = World("restart", "reload", cooldown={"restart": 0, "reload": 60}, platform={"budget": {"per_window": 1}})
    world.cooldowns.acquire("web", "reload", "somebody else", 20)
    world.healthy = False
    recovery_id = world.report()
    world.execute(world.advance(recovery_id))
    world.advance(recovery_id)
    held_by = world.recovery(recovery_id).held_by

    world.later(21)
    (second,) = world.reaper.tick()

    assert held_by == "cooldown"
    assert isinstance(second, Execute), "one may begin per hour, and this one did"


def test_one_that_breaks_whenever_it_is_looked_at_keeps_nobody_from_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _names = fleet_of(4)
    at_work, broken, waiting = (world.report(service=name, severity=severe) for name, severe in SEVERITIES.items())
    for recovery_id in (at_work, broken, waiting):
        world.advance(recovery_id)
    judge = world.coordinator._next

    def breaks(recovery: Recovery, attempts: list[Attempt], now: datetime) -> object:
        if recovery.id == broken:
            raise KeyError("whatever")
        return judge(recovery, attempts, now)

    monkeypatch.setattr(world.coordinator, "_next", breaks)
    world.desk.cancel(at_work)
    begun: list[str] = []
    for _ in range(5):
        world.later(1)
        begun += [found.recovery_id for found in world.reaper.tick() if isinstance(found, Execute)]

    assert begun == [waiting]


def test_what_waits_for_the_budget_costs_the_tick_nothing() -> None:
    world, names = fleet_of(40, budget={"percent": 1})
    for name in names[:20]:
        world.advance(world.report(service=name))
    looked_at: list[str] = []
    advance = world.coordinator.advance

    def noted(recovery_id: str) -> object:
        looked_at.append(recovery_id)
        return advance(recovery_id)

    world.coordinator.advance = noted  # type: ignore[method-assign, assignment]
    for _ in range(9):
        world.later(1)
        world.reaper.tick()

    assert looked_at == []
    assert sum(row.held_by == budget.BUDGET for row in world.store.open_recoveries()) == 19


def test_two_that_are_judged_at_the_same_time_do_not_both_take_the_last_place() -> None:
    world, names = fleet_of(3)
    first, second = (world.report(service=name) for name in names[:2])
    transition = world.store.transition

    def after_the_other(*args: object, **kwargs: object) -> object:
        world.store.transition = transition  # type: ignore[method-assign]
        assert isinstance(world.advance(second), Execute)
        return transition(*args, **kwargs)  # type: ignore[arg-type]

    world.store.transition = after_the_other  # type: ignore[method-assign, assignment]
    lost = world.advance(first)

    assert isinstance(lost, Wait)
    assert at_work(world) == 1
    assert world.cooldowns.remaining(names[0], ["restart"]) == {}, "its lock was given back"
    world.advance(first)
    assert world.recovery(first).held_by == budget.BUDGET


def test_the_lock_of_an_attempt_that_found_no_room_is_given_back() -> None:
    world, names = fleet_of(3)
    world.change(cooldown=600)
    first = world.report(service=names[0])
    transition = world.store.transition

    def no_room(*args: object, **kwargs: object) -> None:
        world.store.transition = transition  # type: ignore[method-assign]

    world.store.transition = no_room  # type: ignore[method-assign]
    world.advance(first)

    assert world.cooldowns.remaining(names[0], ["restart"]) == {}
    assert isinstance(world.advance(first), Execute)


def test_what_a_person_asked_for_passes_the_budget_and_counts() -> None:
    world, names = fleet_of(4)
    by_hand = world.advance(world.desk.trigger(names[0], "restart").recovery.id)
    automatic = world.report(service=names[1])
    held = world.advance(automatic)
    also_by_hand = world.advance(world.desk.trigger(names[2], "restart").recovery.id)

    assert isinstance(by_hand, Execute)
    assert isinstance(held, Wait)
    assert isinstance(also_by_hand, Execute)
    assert world.store.decisions[1].facts["in_progress"] == 1


def test_no_more_recoveries_begin_within_a_window_than_declared() -> None:
    world, names = fleet_of(20, budget={"percent": 100, "storm_percent": 100, "per_window": 3, "window": 120})
    for name in names[:5]:
        world.report(service=name)
    crew = Crew(world)
    for _ in range(100):
        crew.tick()

    assert len(crew.begun) == 3
    assert {row.held_by for row in world.store.open_recoveries()} == {budget.BUDGET}
    crew.work_off()
    assert len(crew.begun) == 5


def test_a_storm_is_told_once_when_it_begins_and_once_when_it_is_over() -> None:
    world, names = fleet_of(12)
    for name in names[:6]:
        world.report(service=name)
    crew = Crew(world)

    for _ in range(3):
        crew.tick()
    (began,) = world.told("platform:storm_began")
    crew.work_off()
    for _ in range(120):
        crew.tick()

    (ended,) = world.told("platform:storm_ended")
    escalated = [decision for decision in world.store.decisions if decision.guard == "storm"]
    assert (began.data["open"], began.data["services"]) == (6, 12)
    assert [decision.choice for decision in escalated] == [Choice.ESCALATE]
    assert "6 of 12 services are sick at once" in escalated[0].reason
    assert ended.at - began.at > timedelta(seconds=60)
    assert crew.most == 3, "10 % of 12, at least one, in the storm; 25 % after it"


def test_a_storm_is_remembered_by_the_store_not_by_a_process() -> None:
    world, names = fleet_of(12)
    for name in names[:6]:
        world.report(service=name)
    world.reaper.tick()

    world.use(world.store)
    world.later(5)
    world.reaper.tick()

    assert len(world.told("platform:storm_began")) == 1


def test_a_few_sick_services_of_a_small_fleet_are_no_storm() -> None:
    world, names = fleet_of(4)
    for name in names[:4]:
        world.report(service=name)

    world.reaper.tick()

    assert storm_from(world.fleet) == 5
    assert world.told("platform:storm_began") == []


def test_a_storm_never_allows_more_than_fair_weather() -> None:
    world, _ = fleet_of(100, budget={"percent": 2, "storm_percent": 10})

    assert budget.concurrent(world.fleet, Load(open=90)) == 2


@pytest.mark.parametrize(
    ("services", "load", "room"),
    [
        (2, Load(), 1),
        (2, Load(in_progress=1), 0),
        (100, Load(in_progress=5), 20),
        (100, Load(in_progress=5, open=50), 5),
        (2, Load(in_progress=3), 0),
    ],
)
def test_the_room_that_is_handed_out_is_what_the_guard_would_allow(services: int, load: Load, room: int) -> None:
    world, _ = fleet_of(services)

    assert budget.free(world.fleet, load) == room


def test_a_scheduled_recovery_needs_room_too() -> None:
    world, names = fleet_of(3)
    world.advance(world.report(service=names[1], severity=Severity.HIGH))
    recovery_id = world.report(service=names[0])
    row = world.recovery(recovery_id)
    world.store.transition(row, replace(row, kind=Kind.SCHEDULED))

    assert isinstance(world.advance(recovery_id), Wait)
    assert world.recovery(recovery_id).held_by == budget.BUDGET
