"""What becomes of a rollback whose worker died: a successor goes on with it, or tells what is left behind."""

import pytest

from recovery.engine.limits import Watch
from recovery.errors import DriverError
from recovery.models import Choice, Outcome
from tests.trial import DONE, UNDONE, Stopwatch, Trial, fail, kill


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


def test_each_worker_gets_the_whole_time_of_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    trial, stopwatch = Trial(attempt_timeout=100), Stopwatch()
    trial.watch = Watch(lambda: stopwatch.now, lambda _seconds: None)
    trial.restart.during["two"] = kill
    trial.die(monkeypatch)
    stopwatch.pass_by(1_000)()

    assert trial.resume().outcome is Outcome.RESOLVED


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
