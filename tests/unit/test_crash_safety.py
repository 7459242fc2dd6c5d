"""What happens when whoever carries out an attempt dies, freezes or is doubled: nothing is lost and nothing acts twice."""

import threading
from contextlib import AbstractContextManager
from datetime import timedelta
from unittest.mock import patch

import pytest

from recovery.config.fleet import PlatformDeclaration
from recovery.engine.renewal import insist
from recovery.errors import LeaseLost, StoreUnavailable
from recovery.models import AttemptState, Outcome, RecoveryState, Status, StepState
from recovery.ports import Execute, Wait
from tests.support import eventually
from tests.world import World


class Killed(BaseException):
    """The worker process is gone: nothing after this line runs, not even handlers."""


def kill() -> None:
    raise Killed


def keeping_leases(world: World) -> AbstractContextManager[object]:
    """A dead worker releases nothing."""
    return patch.object(world.store, "release_lease")


def lose_worker(world: World, step: str) -> str:
    """Let a worker die in the middle of `step`; return the recovery's id."""
    world.healthy = True
    recovery_id = world.report()
    directive = world.advance(recovery_id)
    world.strategies["restart"].during[step] = kill
    with keeping_leases(world), pytest.raises(Killed):
        world.execute(directive)
    world.strategies["restart"].during.clear()
    return recovery_id


def test_a_lost_worker_is_replaced_once_its_lease_ran_out() -> None:
    world = World("restart", platform={"lease": 10})
    recovery_id = lose_worker(world, "one")

    world.later(5)
    assert world.reaper.tick() == []
    world.later(6)
    (directive,) = world.reaper.tick()

    assert isinstance(directive, Execute)
    assert directive.recovery_id == recovery_id


def test_a_step_that_took_effect_before_the_crash_is_not_repeated() -> None:
    world = World("restart")
    lose_worker(world, "one")
    world.strategies["restart"].took_effect = lambda step: step == "one"

    world.later(11)
    (directive,) = world.reaper.tick()
    ended = world.execute(directive)

    assert ended
    assert ended.outcome is Outcome.RESOLVED
    assert ended.runs == 2
    assert world.ledger == ["restart.one", "restart.two"]
    first = world.store.steps(ended.recovery_id)[0]
    assert first.reconciled
    assert first.state is StepState.FINISHED


def test_a_step_that_had_no_effect_is_run_again() -> None:
    world = World("restart")
    lose_worker(world, "one")

    world.later(11)
    (directive,) = world.reaper.tick()
    world.execute(directive)

    assert world.ledger == ["restart.one", "restart.one", "restart.two"]


def test_finished_steps_are_passed_over_by_the_successor() -> None:
    world = World("restart")
    lose_worker(world, "two")
    world.strategies["restart"].took_effect = lambda _step: True

    world.later(11)
    (directive,) = world.reaper.tick()
    world.execute(directive)

    assert world.ledger == ["restart.one", "restart.two"]


def test_the_fence_rises_with_every_holder() -> None:
    world = World("restart")
    recovery_id = lose_worker(world, "one")
    before = world.store.attempts(recovery_id)[0].fence

    world.later(11)
    (directive,) = world.reaper.tick()
    world.execute(directive)

    assert world.store.attempts(recovery_id)[0].fence > before


def test_a_frozen_worker_that_wakes_up_after_its_lease_moved_does_nothing_more() -> None:
    world = World("restart", platform={"lease": 10})
    recovery_id = world.report()
    directive = world.advance(recovery_id)

    def freeze() -> None:
        """While the first worker sleeps in step one, a second one takes over and finishes."""
        world.strategies["restart"].during.clear()
        world.strategies["restart"].took_effect = lambda step: step == "one"
        world.later(60)
        (again,) = world.reaper.tick()
        assert isinstance(again, Execute)
        ended = world.worker("worker-2").run(again.recovery_id, again.attempt)
        assert ended
        assert ended.outcome is Outcome.RESOLVED

    world.strategies["restart"].during["one"] = freeze
    assert world.execute(directive) is None

    assert world.ledger == ["restart.one", "restart.two"]
    assert world.store.attempts(recovery_id)[0].outcome is Outcome.RESOLVED


def test_two_workers_that_get_the_same_message_act_once() -> None:
    world = World("restart")
    recovery_id = world.report()
    directive = world.advance(recovery_id)
    assert isinstance(directive, Execute)
    second: list[object] = []
    world.strategies["restart"].during["one"] = lambda: second.append(world.worker("worker-2").run(recovery_id, directive.attempt))

    world.execute(directive)

    assert second == [None]
    assert world.ledger == ["restart.one", "restart.two"]


def test_a_recovery_that_takes_its_workers_down_is_parked() -> None:
    world = World("restart", "reload", platform={"lease": 10, "max_runs": 2})
    recovery_id = lose_worker(world, "one")
    world.strategies["restart"].during["one"] = kill

    world.later(11)
    (directive,) = world.reaper.tick()
    with keeping_leases(world), pytest.raises(Killed):
        world.execute(directive)
    world.later(11)
    world.reaper.tick()
    world.strategies["restart"].during.clear()
    world.run(recovery_id)

    first, second = world.store.attempts(recovery_id)
    assert (first.state, first.outcome) == (AttemptState.FINISHED, Outcome.FAILED)
    assert "lost its worker 2 times" in first.reason
    assert second.outcome is Outcome.RESOLVED


def test_a_message_that_comes_between_the_last_lease_and_the_tick_loses_no_further_worker() -> None:
    world = World("restart", platform={"lease": 10, "max_runs": 1})
    recovery_id = lose_worker(world, "one")

    world.later(11)
    world.execute(Execute(recovery_id, "web", "restart", "restart", 1))

    (attempt,) = world.store.attempts(recovery_id)
    assert (attempt.state, attempt.runs) == (AttemptState.RUNNING, 1)
    world.reaper.tick()
    (attempt,) = world.store.attempts(recovery_id)
    assert (attempt.outcome, attempt.runs) == (Outcome.FAILED, 1)


def test_a_parked_attempt_locks_its_frozen_worker_out() -> None:
    world = World("restart", platform={"lease": 10, "max_runs": 1})
    recovery_id = lose_worker(world, "one")
    held = world.store.lease_of("web")
    assert held

    world.later(11)
    world.reaper.tick()

    with pytest.raises(LeaseLost):
        world.store.journal(held, world.store.steps(recovery_id)[0])


def test_what_a_parked_attempt_may_have_put_in_place_is_noted_to_be_taken_away() -> None:
    world = World("degrade", platform={"lease": 10, "max_runs": 1})
    recovery_id = world.report()
    directive = world.advance(recovery_id)
    world.strategies["degrade"].during["two"] = kill
    with keeping_leases(world), pytest.raises(Killed):
        world.execute(directive)
    world.strategies["degrade"].during.clear()

    world.later(11)
    world.reaper.tick()
    world.reaper.tick()
    world.later(5)
    world.see("web", Status.HEALTHY, since=2)
    (restore,) = world.desk.restore_all()
    world.run(restore.recovery.id)

    assert world.ledger == ["degrade.one", "degrade.two", "degrade.revert:one", "degrade.revert:two"]
    assert world.store.mitigations() == []


def test_a_worker_that_is_told_to_stop_hands_its_attempt_over_at_once() -> None:
    world = World("restart")
    recovery_id = world.report()
    directive = world.advance(recovery_id)

    def stop() -> None:
        raise SystemExit(0)

    world.strategies["restart"].during["one"] = stop
    with pytest.raises(SystemExit):
        world.execute(directive)
    world.strategies["restart"].during.clear()
    world.strategies["restart"].took_effect = lambda step: step == "one"

    assert world.store.lease_of("web") is None
    ended = world.execute(directive)

    assert ended
    assert (ended.outcome, ended.runs) == (Outcome.RESOLVED, 1)
    assert world.ledger == ["restart.one", "restart.two"]


def test_an_attempt_that_was_verified_but_not_written_down_is_only_verified_again() -> None:
    world = World("restart")
    recovery_id = world.report()
    directive = world.advance(recovery_id)
    with keeping_leases(world), patch.object(world.store, "finish_attempt", side_effect=Killed), pytest.raises(Killed):
        world.execute(directive)

    world.later(11)
    ended = world.execute(world.reaper.tick()[0])

    assert ended
    assert ended.outcome is Outcome.RESOLVED
    assert world.ledger == ["restart.one", "restart.two"]
    assert world.store.recovery(recovery_id)


def test_a_living_lease_is_left_alone() -> None:
    world = World("restart", platform={"lease": 10})
    recovery_id = world.report()
    directive = world.advance(recovery_id)
    seen: list[object] = []
    world.strategies["restart"].during["one"] = lambda: seen.append(world.advance(recovery_id))

    world.execute(directive)

    assert isinstance(seen[0], Wait)


def test_a_recovery_whose_worker_died_is_finished_by_the_tick_alone() -> None:
    world = World("restart", platform={"lease": 10})
    recovery_id = lose_worker(world, "two")
    world.strategies["restart"].took_effect = lambda _step: True

    world.later(30)
    for directive in world.reaper.tick():
        world.execute(directive)
    world.reaper.tick()

    recovery = world.store.recovery(recovery_id)
    assert recovery
    assert recovery.state is RecoveryState.SUCCEEDED


def lose_store(world: World, recovery_id: str, seconds: float) -> None:
    """Let the store be away from the middle of step one on, for some seconds, while the worker lives."""

    def away(*_args: object, **_kwargs: object) -> None:
        raise StoreUnavailable("the database is away")

    directive = world.advance(recovery_id)
    if not isinstance(directive, Execute):
        (directive,) = world.reaper.tick()
    outage = patch.multiple(world.store, journal=away, holds=away, finish_attempt=away, release_lease=away, hand_back=away)
    world.strategies["restart"].during["one"] = outage.start
    try:
        with pytest.raises(StoreUnavailable):
            world.execute(directive)
    finally:
        outage.stop()
    world.strategies["restart"].during.clear()
    world.later(seconds)


@pytest.mark.parametrize("seconds", [1, 60])
def test_outages_of_the_store_do_not_park_an_attempt_however_many_there_are(seconds: float) -> None:
    world = World("restart", platform={"lease": 10, "max_runs": 2})
    recovery_id = world.report()
    world.strategies["restart"].took_effect = lambda _step: False

    for _ in range(5):
        lose_store(world, recovery_id, seconds)
        world.settle()
        assert world.store.lease_of("web") is None, "whoever comes next need not wait for the lease to run out"
        world.later(10)
    world.reaper.tick()
    world.execute(Execute(recovery_id, "web", "restart", "restart", 1))

    (attempt,) = world.store.attempts(recovery_id)
    assert (attempt.outcome, attempt.runs) == (Outcome.RESOLVED, 1)


def test_a_worker_that_dies_between_outages_still_counts_as_lost() -> None:
    world = World("restart", platform={"lease": 10, "max_runs": 2})
    recovery_id = lose_worker(world, "one")
    world.later(11)
    lose_store(world, recovery_id, 1)
    world.settle()
    world.later(11)
    world.strategies["restart"].during["one"] = kill
    with keeping_leases(world), pytest.raises(Killed):
        world.execute(world.reaper.tick()[0])

    world.later(11)
    world.reaper.tick()

    (attempt,) = world.store.attempts(recovery_id)
    assert attempt.outcome is Outcome.FAILED
    assert "lost its worker 2 times" in attempt.reason


def test_what_cannot_be_given_up_during_an_outage_is_given_up_when_the_store_is_back() -> None:
    answers = iter([StoreUnavailable("away"), StoreUnavailable("away"), None])
    done = threading.Event()

    def give_up() -> None:
        answer = next(answers)
        if answer is not None:
            raise answer
        done.set()

    insist(give_up)

    assert done.wait(30)


def test_a_worker_that_lost_the_store_and_wakes_up_late_takes_nothing_from_its_successor() -> None:
    world = World("restart", platform={"lease": 10})
    recovery_id = world.report()
    lose_store(world, recovery_id, 11)
    successor = world.store.acquire_lease("web", recovery_id, "worker-2", world.now, world.now + timedelta(seconds=10))
    assert successor

    world.settle()

    assert world.store.holds(successor)


def test_a_worker_renews_its_lease_while_a_step_runs() -> None:
    assert PlatformDeclaration().lease == 10
    world = World("restart", platform={"lease": 1})
    directive = world.advance(world.report())

    def take_long() -> None:
        world.later(30)
        eventually(lambda: world.store.lease_of("web").until == world.now + timedelta(seconds=1))  # type: ignore[union-attr]

    world.strategies["restart"].during["one"] = take_long
    ended = world.execute(directive)

    assert ended
    assert (ended.outcome, ended.runs) == (Outcome.RESOLVED, 1)
