"""An attempt that ends half-way takes back what it did, the last step first, whatever stops it; and says what became of it."""

import time
from dataclasses import replace
from typing import Any

from recovery.backoff import Linear
from recovery.engine.limits import Watch
from recovery.models import Outcome, RecoveryState, Status, StepState
from recovery.ports import Retry, StepWork
from tests.trial import DONE, UNDONE, Stopwatch, Trial, fail
from tests.world import World


def test_a_step_that_fails_takes_those_before_it_back_in_reverse() -> None:
    trial = Trial()
    trial.restart.before["three"] = fail

    ended = trial.run()

    assert trial.world.ledger == UNDONE
    assert (ended.outcome, ended.reason) == (Outcome.FAILED, "no answer; rolled back: two, one")
    assert trial.journal() == [
        ("one", StepState.FINISHED),
        ("two", StepState.FINISHED),
        ("three", StepState.FAILED),
        ("undo two", StepState.FINISHED),
        ("undo one", StepState.FINISHED),
        ("rollback", StepState.FINISHED),
    ]


def test_a_step_that_cannot_be_undone_does_not_keep_the_others_and_is_told() -> None:
    trial = Trial()
    trial.restart.before |= {"three": fail, "undo:two": fail}

    ended = trial.run()

    assert trial.world.ledger == [*DONE, "restart.undo:one"]
    assert ended.reason == "no answer; rolled back: one; could not undo two: no answer"
    assert trial.journal()[-1] == ("rollback", StepState.FAILED)


def test_an_undo_that_breaks_does_not_keep_the_others() -> None:
    trial = Trial()

    def break_down() -> None:
        raise KeyError("pid")

    trial.restart.before |= {"three": fail, "undo:two": break_down}

    assert trial.run().reason == "no answer; rolled back: one; could not undo two: KeyError: 'pid'"


def test_a_mitigation_that_cannot_be_undone_is_taken_away_once_the_service_is_well() -> None:
    world = World("degrade", "restart")
    world.healthy = False
    world.strategies["degrade"].before["undo:one"] = fail
    recovery_id = world.report()

    world.run(recovery_id)
    (left,) = world.store.mitigations()
    world.strategies["degrade"].before.clear()
    world.healthy = True
    world.later(5)
    world.see("web", Status.HEALTHY, since=2)
    (restore,) = world.desk.restore_all()
    world.run(restore.recovery.id)

    assert (left.strategy, left.recovery_id) == ("degrade", recovery_id)
    assert world.ledger[-2:] == ["degrade.revert:one", "degrade.revert:two"]
    assert world.store.mitigations() == []


def test_where_nothing_can_be_undone_nothing_is_written() -> None:
    trial = Trial()
    trial.restart.undoes = False
    trial.restart.before["two"] = fail

    assert trial.run().reason == "no answer"
    assert [name for name, _state in trial.journal()] == ["one", "two"]


def test_a_step_that_breaks_is_rolled_back_like_one_that_fails() -> None:
    trial = Trial()

    def break_down() -> None:
        raise KeyError("pid")

    trial.restart.before["three"] = break_down

    assert trial.run().reason == "restart broke: KeyError: 'pid'; rolled back: two, one"
    assert trial.world.ledger == UNDONE


def test_a_cancelled_attempt_is_rolled_back() -> None:
    trial = Trial()

    def cancel() -> None:
        trial.world.desk.cancel(trial.recovery_id, "enough")

    trial.restart.during["two"] = cancel

    ended = trial.run()
    trial.world.advance(trial.recovery_id)

    recovery = trial.world.store.recovery(trial.recovery_id)
    assert recovery
    assert trial.world.ledger == UNDONE
    assert ended.reason.endswith("; rolled back: two, one")
    assert (recovery.state, recovery.reason) == (RecoveryState.CANCELLED, "enough")


def test_a_remedy_that_is_complete_stays_although_it_did_not_help() -> None:
    trial = Trial()
    trial.world.healthy = False

    assert trial.run().outcome is Outcome.INEFFECTIVE
    assert trial.world.ledger == [*DONE, "restart.three"]


def test_the_running_step_is_interrupted_when_the_time_of_the_attempt_is_up() -> None:
    trial = Trial(attempt_timeout=1)
    trial.restart.before["three"] = lambda: time.sleep(60)
    began = time.monotonic()

    ended = trial.run()

    assert time.monotonic() - began < 30
    assert ended.reason == "restart took longer than the 1 s of 'attempt_timeout'; rolled back: two, one"
    assert trial.world.ledger == UNDONE


def test_a_step_that_was_interrupted_after_its_effect_is_undone_too() -> None:
    trial = Trial(attempt_timeout=1)
    trial.restart.during["three"] = lambda: time.sleep(60)

    trial.run()

    assert trial.world.ledger == [*DONE, "restart.three", "restart.undo:three", "restart.undo:two", "restart.undo:one"]


def test_no_step_begins_once_the_time_of_the_attempt_is_up() -> None:
    trial, stopwatch = Trial(attempt_timeout=100, attempt_grace=50), Stopwatch()
    trial.watch = Watch(lambda: stopwatch.now, lambda _seconds: None)
    trial.restart.during["two"] = stopwatch.pass_by(101)

    assert trial.run().reason.startswith("restart took longer than the 100 s of 'attempt_timeout'; rolled back")
    assert trial.world.ledger == UNDONE


def test_a_rollback_ends_before_the_process_is_killed_and_tells_what_is_left() -> None:
    trial, stopwatch = Trial(attempt_timeout=100, attempt_grace=50), Stopwatch()
    trial.watch = Watch(lambda: stopwatch.now, lambda _seconds: None)
    trial.restart.before["three"] = fail
    trial.restart.during["undo:two"] = stopwatch.pass_by(146)

    assert trial.run().reason == "no answer; rolled back: two; could not undo one: no time was left"


def test_a_verification_that_outlasts_the_attempt_leaves_what_is_complete() -> None:
    trial, stopwatch = Trial(attempt_timeout=100, verify_timeout=90, healthy_for=5), Stopwatch()

    def let_pass(seconds: float) -> None:
        stopwatch.now += seconds

    trial.watch = Watch(lambda: stopwatch.now, let_pass)
    trial.world.healthy = False
    trial.restart.during["three"] = stopwatch.pass_by(50)

    ended = trial.run()

    assert (ended.outcome, ended.reason) == (Outcome.FAILED, "restart took longer than the 100 s of 'attempt_timeout'")
    assert trial.world.ledger == [*DONE, "restart.three"]


def test_a_mitigation_that_fails_half_way_leaves_nothing_in_place() -> None:
    world = World("degrade")
    world.strategies["degrade"].before["two"] = fail

    world.run(world.report())

    assert world.ledger == ["degrade.one", "degrade.undo:one"]
    assert world.store.mitigations() == []


def test_a_rollback_retries_an_undo_as_the_undo_says() -> None:
    trial = Trial()
    failures = [fail, fail]
    trial.restart.before |= {"three": fail, "undo:two": lambda: failures.pop()() if failures else None}
    step = trial.restart._step

    def stubborn(name: str, *rest: Any) -> StepWork:
        return replace(step(name, *rest), retry=Retry(Linear(0, 0)) if name.startswith("undo:") else None)

    trial.restart._step = stubborn  # type: ignore[method-assign, assignment]

    assert trial.run().reason == "no answer; rolled back: two, one"
