"""One sickness is one recovery, however often it is decided to leave it alone, and however late the reports of it come."""

from datetime import timedelta
from typing import Any

import pytest

from recovery.models import Recovery, RecoveryState, Status
from tests.world import World

PAUSE = 60
"""Seconds of quiet after a recovery that was left alone."""


def everything(world: World) -> list[Recovery]:
    return list(world.store._tables.recoveries.values())


def sicken(world: World, seconds: int, *, watched: bool = True, since: float = 1) -> None:
    """Let the service be sick, with a tick each second; a sweep reports it, unless somebody is busy with it, or a client does."""
    began = world.now - timedelta(seconds=since)
    for _ in range(seconds):
        if watched:
            world.see("web", Status.UNHEALTHY, (world.now - began).total_seconds())
        busy = world.store.busy(world.now)
        if not watched or not ({"web"} & busy.keys() or any(row.fingerprint in busy for row in everything(world))):
            world.run(world.report())
        world.reaper.tick()
        world.later(1)


@pytest.fixture(params=[{"autonomy": "observe"}, {"autonomy": "suggest"}, {"managed": False}, {"dry_run": True}], ids=str)
def world(request: Any) -> World:
    """A service that is left alone, for one reason or another."""
    return World("restart", platform={"retry_failed_after": PAUSE}, **request.param)


@pytest.mark.parametrize("watched", [True, False], ids=["seen by checks", "reported by a client"])
def test_a_sickness_that_is_left_alone_is_one_recovery_whose_decision_counts_up(world: World, watched: bool) -> None:
    sicken(world, 10 * PAUSE, watched=watched)

    (row,) = everything(world)
    assert row.state in {RecoveryState.SUPPRESSED, RecoveryState.FAILED}
    repeats = [noted.repeats for noted in world.store._tables.decisions if noted.decision.guard != "quiet_period"]
    assert min(repeats) >= 9, "each time that it was decided again counts"
    assert len(repeats) <= 2, "its decisions are rows once"
    assert world.ledger == []


def test_a_service_that_was_well_in_between_has_a_recovery_for_each_sickness(world: World) -> None:
    sicken(world, 2 * PAUSE)
    for _ in range(2 * PAUSE):
        world.see("web", Status.HEALTHY)
        world.reaper.tick()
        world.later(1)
    sicken(world, 2 * PAUSE, since=0)

    assert len(everything(world)) == 2


def test_a_client_that_falls_silent_for_the_whole_pause_has_told_of_two_failures(world: World) -> None:
    sicken(world, PAUSE // 2, watched=False)
    for _ in range(3 * PAUSE):
        world.reaper.tick()
        world.later(1)
    sicken(world, 1, watched=False)

    assert len(everything(world)) == 2


def test_another_answer_opens_a_new_recovery() -> None:
    world = World("restart", platform={"retry_failed_after": PAUSE}, autonomy="observe")
    sicken(world, 2 * PAUSE)
    world.change("web", autonomy="auto")
    world.fleet = world.fleet.model_copy(update={"version": "v2"})
    sicken(world, PAUSE + 1, since=3 * PAUSE)

    assert [row.state for row in everything(world)][:2] == [RecoveryState.SUPPRESSED, RecoveryState.SUCCEEDED]
    assert world.ledger == ["restart.one", "restart.two"]


def test_what_reached_its_cap_is_one_recovery_more_until_the_cap_does_not_hold_it_any_more() -> None:
    platform = {"retry_failed_after": PAUSE, "stable_after": PAUSE, "cooldown": 0, "ineffective_after": 99}
    world = World("restart", platform=platform, max_attempts=1)
    world.healthy = False
    sicken(world, 8 * PAUSE)
    before = [row.state for row in everything(world)]
    world.healthy = True
    world.change("web", max_attempts=2)
    sicken(world, PAUSE + 6, since=9 * PAUSE)

    assert before == [RecoveryState.FAILED, RecoveryState.FAILED]
    assert [row.state for row in everything(world)][:3] == [*before, RecoveryState.SUCCEEDED]


def test_a_crowd_that_is_left_alone_is_one_recovery_each() -> None:
    world = World("restart", platform={"retry_failed_after": PAUSE}, autonomy="observe")
    names = [f"service-{number}" for number in range(300)]
    world.declare(*names)
    for name in names:
        world.see(name, Status.UNHEALTHY, since=1)
        world.run(world.report(service=name))

    for _ in range(3 * PAUSE):
        world.later(1)
        world.reaper.tick()

    assert len(world.store.busy(world.now)) == len(names), "no report of them would open another one"


def test_a_question_that_nobody_answered_is_asked_again() -> None:
    world = World("restart", platform={"retry_failed_after": PAUSE, "approval_timeout": 30}, autonomy="approve")
    sicken(world, 3 * PAUSE)

    assert len(world.told("recovery:approval_requested")) == 2


def test_a_tick_without_redis_prolongs_nothing_and_does_its_other_work() -> None:
    world = World("restart", platform={"retry_failed_after": PAUSE}, autonomy="observe")
    sicken(world, PAUSE - 3)
    (row,) = everything(world)
    world.coordinator.again = None  # type: ignore[assignment, method-assign]

    assert world.reaper.tick() == []

    assert everything(world) == [row]


# -- reports that come late


def well(world: World, ago: float = 60) -> None:
    world.see("web", Status.HEALTHY, since=ago)


@pytest.mark.parametrize("batch", [True, False])
def test_a_backlog_of_what_is_over_is_one_recovery_that_does_nothing(batch: bool) -> None:
    world = World("restart")
    well(world)
    stale = [world.now - timedelta(seconds=60 + number) for number in range(50, 0, -1)]
    payloads = [{"service": "web", "category": "service_unavailable", "occurred_at": at.isoformat()} for at in stale]

    world.run(world.desk.report(payloads[0]).recovery.id)
    if batch:
        world.desk.report_many(payloads[1:])
    else:
        for payload in payloads[1:]:
            world.run(world.desk.report(payload).recovery.id)
            world.later(1)

    (row,) = everything(world)
    assert (row.state, row.failures) == (RecoveryState.SUPPRESSED, 50)
    assert world.ledger == []


def test_a_failure_after_the_backlog_of_what_is_over_is_recovered_at_once() -> None:
    world = World("restart")
    well(world)
    world.run(world.report(occurred_at=(world.now - timedelta(seconds=90)).isoformat()))

    world.later(1)
    fresh = world.report()
    world.run(fresh)

    assert world.recovery(fresh).state is RecoveryState.SUCCEEDED
    assert len(everything(world)) == 2


def test_a_failure_that_happened_after_the_service_got_well_is_none_of_the_backlog() -> None:
    world = World("restart")
    well(world)
    world.run(world.report(occurred_at=(world.now - timedelta(seconds=90)).isoformat()))

    fresh = world.report(occurred_at=(world.now - timedelta(seconds=30)).isoformat())
    world.run(fresh)

    assert world.recovery(fresh).state is RecoveryState.SUCCEEDED
