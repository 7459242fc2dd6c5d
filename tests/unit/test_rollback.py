"""An attempt that ends half-way takes back what it did, the last step first, whatever stops it; and says what became of it."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from recovery.backoff import Linear
from recovery.engine.executor import Executor
from recovery.engine.limits import MONOTONIC, Watch
from recovery.errors import DriverError
from recovery.models import Attempt, Choice, Outcome, RecoveryState, Status, StepState
from recovery.ports import Execute, Retry, StepWork
from tests.world import World


class Killed(BaseException):
    """The worker process is gone."""


class Stopwatch:
    """A watch that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def pass_by(self, seconds: float) -> Callable[[], None]:
        def let_pass() -> None:
            self.now += seconds

        return let_pass


class Trial:
    """One restart of `web` with three steps, each of which can be undone."""

    def __init__(self, **service: Any) -> None:
        self.world = World("restart", **service)
        self.restart = self.world.strategies["restart"]
        self.restart.step_names = ("one", "two", "three")
        self.restart.undoes = True
        self.restart.took_effect = lambda step: f"restart.{step}" in self.world.ledger
        self.recovery_id = self.world.report()
        self.watch = MONOTONIC

    def run(self) -> Attempt:
        directive = self.world.advance(self.recovery_id)
        assert isinstance(directive, Execute)
        return self._carry_out(directive)

    def die(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run until the worker is killed; a dead one releases nothing."""
        with monkeypatch.context() as patch:
            patch.setattr(self.world.store, "release_lease", lambda _lease: None)
            with pytest.raises(Killed):
                self.run()

    def resume(self) -> Attempt:
        self.world.later(11)
        (directive,) = self.world.reaper.tick()
        assert isinstance(directive, Execute)
        return self._carry_out(directive)

    def _carry_out(self, directive: Execute) -> Attempt:
        world = self.world
        executor = Executor(world.store, world.registry, lambda: world.fleet, world._probe, world.clock, "me", watch=self.watch)
        ended = executor.run(directive.recovery_id, directive.attempt)
        assert ended
        return ended

    def journal(self) -> list[tuple[str, StepState]]:
        return [(row.name, row.state) for row in self.world.store.steps(self.recovery_id)]


def fail() -> None:
    raise DriverError("no answer")


def kill() -> None:
    raise Killed


DONE = ["restart.one", "restart.two"]
UNDONE = [*DONE, "restart.undo:two", "restart.undo:one"]


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


def test_a_successor_goes_on_with_the_rollback_and_keeps_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial()
    trial.restart.before |= {"three": fail, "undo:one": kill}
    trial.die(monkeypatch)
    trial.restart.before.clear()

    ended = trial.resume()

    assert trial.world.ledger == UNDONE, "neither the step that failed nor the undo that was done is repeated"
    assert ended.reason == "no answer; rolled back: two, one"


def test_an_undo_that_failed_is_not_tried_again_by_a_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial()
    trial.restart.before |= {"three": fail, "undo:two": fail, "undo:one": kill}
    trial.die(monkeypatch)
    trial.restart.before.clear()

    assert trial.resume().reason == "no answer; rolled back: one; could not undo two: no answer"
    assert trial.world.ledger == [*DONE, "restart.undo:one"]


def test_a_step_that_nobody_saw_end_is_asked_before_it_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial()
    trial.restart.during["two"] = kill
    trial.die(monkeypatch)
    trial.world.desk.cancel(trial.recovery_id, "enough")

    ended = trial.resume()

    assert trial.world.ledger == UNDONE
    assert ended.reason.endswith("; rolled back: two, one")


def test_a_step_that_was_asked_once_is_not_asked_again_when_others_were_undone_since(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial()
    trial.restart.before |= {"three": fail, "undo:one": kill}
    trial.die(monkeypatch)
    trial.restart.before.clear()
    trial.restart.took_effect = lambda step: step == "three" or f"restart.{step}" in trial.world.ledger

    assert trial.resume().reason == "no answer; rolled back: two, one"
    assert trial.world.ledger == UNDONE


def test_what_nobody_can_tell_is_not_undone_and_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial()

    def nobody_knows(step: str) -> bool:
        if step == "three":
            raise DriverError("nobody knows")
        return f"restart.{step}" in trial.world.ledger

    trial.restart.took_effect = nobody_knows
    trial.restart.before |= {"three": fail, "undo:one": kill}
    trial.die(monkeypatch)
    trial.restart.before.clear()
    trial.restart.took_effect = lambda _step: True

    assert trial.resume().reason == "no answer; nobody knows; rolled back: two, one; could not undo three: nobody knows"
    assert "restart.undo:three" not in trial.world.ledger


def test_steps_that_changed_with_the_configuration_are_told_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial()
    trial.restart.before |= {"three": fail, "undo:two": kill}
    trial.die(monkeypatch)
    trial.restart.before.clear()
    trial.restart.step_names = ("one", "new", "three")

    ended = trial.resume()

    assert ended.reason == "no answer; rolled back: one; could not undo two: the steps changed with the configuration"
    assert trial.world.ledger == [*DONE, "restart.undo:one"]


def test_a_mitigation_that_fails_half_way_leaves_nothing_in_place() -> None:
    world = World("degrade")
    world.strategies["degrade"].before["two"] = fail

    world.run(world.report())

    assert world.ledger == ["degrade.one", "degrade.undo:one"]
    assert world.store.mitigations() == []


def test_each_worker_gets_the_whole_time_of_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    trial, stopwatch = Trial(attempt_timeout=100), Stopwatch()
    trial.watch = Watch(lambda: stopwatch.now, lambda _seconds: None)
    trial.restart.during["two"] = kill
    trial.die(monkeypatch)
    stopwatch.pass_by(1_000)()

    assert trial.resume().outcome is Outcome.RESOLVED


def test_a_rollback_retries_an_undo_as_the_undo_says() -> None:
    trial = Trial()
    failures = [fail, fail]
    trial.restart.before |= {"three": fail, "undo:two": lambda: failures.pop()() if failures else None}
    step = trial.restart._step

    def stubborn(name: str, *rest: Any) -> StepWork:
        return replace(step(name, *rest), retry=Retry(Linear(0, 0)) if name.startswith("undo:") else None)

    trial.restart._step = stubborn  # type: ignore[method-assign, assignment]

    assert trial.run().reason == "no answer; rolled back: two, one"


@pytest.fixture
def parked(monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A restart whose third step failed, and whose only worker died after it had taken back the second one."""
    trial = Trial()
    trial.world.change(max_runs=1)
    trial.restart.before["three"] = fail
    trial.restart.before["undo:one"] = kill
    trial.die(monkeypatch)
    trial.world.later(11)
    trial.world.reaper.tick()
    return trial


def test_an_attempt_that_is_parked_in_the_middle_of_its_rollback_tells_what_is_not_undone(parked: Trial) -> None:
    (attempt,) = parked.world.store.attempts(parked.recovery_id)

    assert attempt.outcome is Outcome.FAILED
    assert attempt.reason == ("restart lost its worker once; its rollback is not finished; undone: two; not undone: one, three (failed)")


def test_a_person_is_called_to_what_a_parked_attempt_left_behind_and_the_history_says_so(parked: Trial) -> None:
    (decision,) = [made for made in parked.world.store.decisions if made.guard == "max_runs"]
    told = [event for event in parked.world.told("recovery:action") if event.data.get("outcome") == "failed"]

    assert decision.choice is Choice.ESCALATE
    assert decision.reason.startswith("needs a person: restart lost its worker")
    assert "not undone: one" in decision.reason
    assert ["not undone: one" in str(event.data["reason"]) for event in told] == [True]


def test_an_attempt_that_is_parked_before_its_rollback_tells_what_it_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial()
    trial.world.change(max_runs=1)
    trial.restart.during["two"] = kill
    trial.die(monkeypatch)

    trial.world.later(11)
    trial.world.reaper.tick()

    (attempt,) = trial.world.store.attempts(trial.recovery_id)
    assert attempt.reason == "restart lost its worker once; not undone: one, two (begun, nobody knows how far)"


def test_an_attempt_that_is_parked_before_it_did_anything_calls_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial()
    trial.world.change(max_runs=1)
    monkeypatch.setattr(trial.world.store, "steps", lambda *_: [])
    trial.restart.before["one"] = kill
    trial.die(monkeypatch)

    trial.world.later(11)
    trial.world.reaper.tick()

    (decision,) = [made for made in trial.world.store.decisions if made.guard == "max_runs"]
    assert decision.choice is Choice.SKIP
