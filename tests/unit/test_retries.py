"""A step that fails is asked whether it took effect, waits, and is tried again, for as long as somebody wants it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from recovery.backoff import Adaptive, BreakerAware, Exponential, Jitter, Linear, Longest, Policy, TimeWindow
from recovery.config.retries import RetryDeclaration
from recovery.engine.executor import Executor
from recovery.engine.limits import Watch
from recovery.engine.retries import declared
from recovery.errors import DriverError, StepFailed
from recovery.models import Attempt, Outcome, RecoveryState, Step, StepState
from recovery.ports import Directive, Execute, Retry
from tests.world import World

GROWING = Linear(1, 1)


class Pauses:
    """A watch that only moves when somebody waits, and `meanwhile` happens."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waited: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def watch(self) -> Watch:
        return Watch(lambda: self.now, self.pause)

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.waited.append(seconds)
        self.meanwhile()


class Trial:
    """One restart of `web` whose step `two` fails as often as told."""

    def __init__(self, failures: int = 0, policy: Policy = GROWING, attempts: int | None = 3, **service: Any) -> None:
        self.world = World("restart", **service)
        self.pauses = Pauses()
        self.restart = self.world.strategies["restart"]
        self.restart.retry = Retry(policy, attempts)
        self.restart.before["two"] = self._try
        self.left = failures
        self.error: Exception = DriverError("no answer")
        self.recovery_id = self.world.report()

    def _try(self) -> None:
        self.left -= 1
        if self.left >= 0:
            raise self.error

    def executor(self) -> Executor:
        world = self.world
        return Executor(world.store, world.registry, lambda: world.fleet, world._probe, world.clock, "me", watch=self.pauses.watch())

    def run(self, directive: Directive | None = None) -> Attempt | None:
        directive = directive or self.world.advance(self.recovery_id)
        assert isinstance(directive, Execute)
        return self.executor().run(directive.recovery_id, directive.attempt)

    def ended(self) -> Attempt:
        attempt = self.run()
        assert attempt is not None
        return attempt

    def row(self, name: str = "two") -> Step:
        return next(row for row in self.world.store.steps(self.recovery_id) if row.name == name)


def test_a_step_that_fails_twice_is_done_at_the_third_try_in_one_row() -> None:
    trial = Trial(failures=2)

    ended = trial.ended()

    assert ended.outcome is Outcome.RESOLVED
    assert trial.world.ledger == ["restart.one", "restart.two"]
    assert sum(trial.pauses.waited) == 1 + 2, "as the policy says"
    assert (trial.row().state, trial.row().result, trial.row().error) == (StepState.FINISHED, {"done": "two", "tries": 3}, "")
    assert [row.name for row in trial.world.store.steps(trial.recovery_id)] == ["one", "two", "verify"]


def test_a_step_that_never_works_fails_after_its_tries_with_the_last_error() -> None:
    trial = Trial(failures=9)

    ended = trial.ended()

    assert (ended.outcome, ended.reason) == (Outcome.FAILED, "no answer")
    assert trial.left == 9 - 3
    assert (trial.row().state, trial.row().error) == (StepState.FAILED, "no answer")


def test_a_step_without_a_retry_is_tried_once() -> None:
    trial = Trial(failures=9)
    trial.restart.retry = None

    assert trial.ended().outcome is Outcome.FAILED
    assert trial.left == 9 - 1
    assert trial.pauses.waited == []


def test_an_error_after_the_effect_is_no_failure() -> None:
    trial = Trial()
    trial.restart.took_effect = lambda step: step == "two"

    def answer_is_lost() -> None:
        raise DriverError("connection reset")

    trial.restart.during["two"] = answer_is_lost

    assert trial.ended().outcome is Outcome.RESOLVED
    assert trial.world.ledger == ["restart.one", "restart.two"], "not tried again"
    assert trial.row().reconciled
    assert (trial.row().state, trial.row().error) == (StepState.FINISHED, "connection reset")


def test_what_nobody_can_tell_is_not_tried_again() -> None:
    trial = Trial(failures=1)

    def nobody_knows(_step: str) -> bool:
        raise StepFailed("cannot tell whether it started")

    trial.restart.took_effect = nobody_knows

    ended = trial.ended()

    assert (ended.outcome, ended.reason) == (Outcome.FAILED, "no answer; cannot tell whether it started")
    assert trial.world.ledger == ["restart.one"]
    assert trial.pauses.waited == []


def test_only_the_errors_that_another_try_may_mend_are_tried_again() -> None:
    trial = Trial(failures=1)
    trial.restart.retry = Retry(Linear(), on=(DriverError,))
    trial.error = StepFailed("the port is taken")

    assert trial.ended().reason == "the port is taken"
    assert trial.pauses.waited == []


def test_an_optional_step_is_tried_as_often_and_then_passed_over() -> None:
    trial = Trial(failures=9)
    trial.restart.optional = ("two",)

    ended = trial.ended()

    assert ended.outcome is Outcome.RESOLVED
    assert trial.left == 9 - 3
    assert trial.row().state is StepState.FAILED


def test_a_recovery_that_is_cancelled_during_a_wait_is_not_tried_again() -> None:
    trial = Trial(failures=9, policy=Linear(60))

    def cancel() -> None:
        trial.world.desk.cancel(trial.recovery_id, "enough")

    trial.pauses.meanwhile = cancel

    ended = trial.ended()
    trial.world.advance(trial.recovery_id)

    recovery = trial.world.store.recovery(trial.recovery_id)
    assert recovery
    assert (ended.outcome, recovery.state) == (Outcome.FAILED, RecoveryState.CANCELLED)
    assert trial.left == 9 - 1
    assert sum(trial.pauses.waited) < 1, "it does not wait to the end"
    assert trial.row().state is StepState.FAILED


def test_whoever_loses_the_lease_during_a_wait_does_nothing_more() -> None:
    trial = Trial(failures=1)
    world = trial.world

    def lose() -> None:
        world.later(60)
        assert world.store.acquire_lease("web", trial.recovery_id, "other", world.now, world.now + timedelta(seconds=10))
        trial.pauses.meanwhile = lambda: None

    trial.pauses.meanwhile = lose

    assert trial.run() is None
    assert world.ledger == ["restart.one"]
    assert trial.row().state is StepState.STARTED, "the row belongs to whoever has the lease"


def test_a_wait_that_would_outlast_the_attempt_is_not_begun() -> None:
    trial = Trial(failures=9, policy=Linear(101, max=1_000), attempt_timeout=100)

    assert trial.ended().reason == "no answer"
    assert trial.left == 9 - 1
    assert trial.pauses.waited == []


def test_a_successor_goes_on_counting() -> None:
    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    trial = Trial(failures=9)
    trial.pauses.meanwhile = kill
    with pytest.raises(Killed):
        trial.run()
    trial.pauses.meanwhile = lambda: None
    assert (trial.row().state, trial.row().result, trial.row().error) == (StepState.STARTED, {"failed_tries": 1}, "no answer")

    trial.world.later(11)
    ended = trial.run(trial.world.reaper.tick()[0])

    assert ended
    assert ended.outcome is Outcome.FAILED
    assert trial.left == 9 - 3, "three tries in all"


def test_a_try_that_fails_while_it_looks_leaves_no_row_and_is_tried_again() -> None:
    trial = Trial()
    step = trial.restart._step
    looks = iter((True, False))

    def blind(name: str, *rest: object) -> object:
        def look() -> dict[str, object]:
            if name == "two" and next(looks):
                assert not [row for row in trial.world.store.steps(trial.recovery_id) if row.name == "two"]
                raise DriverError("cannot look")
            return {}

        return replace(step(name, *rest), prepare=look)  # type: ignore[arg-type]

    trial.restart._step = blind  # type: ignore[method-assign, assignment]

    assert trial.ended().outcome is Outcome.RESOLVED
    assert trial.world.ledger == ["restart.one", "restart.two"]


def test_an_adaptive_retry_waits_longer_for_a_service_whose_attempts_fail() -> None:
    calm, failing = (Trial(failures=1, policy=Adaptive(1, 2, 100), cooldown={"restart": 0}) for _ in range(2))
    calm.ended()

    before = Trial(failures=9)
    before.world = failing.world
    failing.restart.before["two"] = before._try
    failing.ended()
    failing.world.run(failing.recovery_id)
    failing.world.later(120)
    failing.left, failing.restart.before["two"] = 1, failing._try
    failing.recovery_id = failing.world.report()
    failing.pauses.waited.clear()
    failing.ended()

    assert sum(calm.pauses.waited) == pytest.approx(1)
    assert sum(failing.pauses.waited) == pytest.approx(100), "all of its recent attempts failed"


def test_a_breaker_aware_retry_waits_until_the_breaker_lets_a_call_through() -> None:
    trial = Trial(failures=1)
    opens = trial.world.now.timestamp() + 7
    trial.restart.retry = Retry(Longest((Linear(1), BreakerAware())), retry_at=lambda: opens)

    assert trial.ended().outcome is Outcome.RESOLVED
    assert sum(trial.pauses.waited) == pytest.approx(7)


def test_the_operator_declares_how_steps_are_tried_again() -> None:
    retry = {"restart": RetryDeclaration(attempts=5, initial=2, multiplier=3, max=10, jitter=Jitter.NONE)}
    trial = Trial(failures=4, retry=retry)

    assert trial.ended().outcome is Outcome.RESOLVED
    assert sum(trial.pauses.waited) == 2 + 6 + 10 + 10


def test_what_a_try_may_mend_remains_the_strategys_to_say() -> None:
    own = Retry(Exponential(), on=(DriverError,))
    declaration = RetryDeclaration(policy="linear", increment=2, per_window=4, window=30)

    both, alone = declared(own, declaration), declared(None, declaration)

    assert both
    assert alone
    assert both.on == (DriverError,)
    assert alone.on == (StepFailed, DriverError)
    assert isinstance(both.policy, Longest)
    assert both.policy.policies[1] == TimeWindow(4, 30)
    assert declared(own, None) is own


def test_a_retry_within_a_window_never_tries_more_often() -> None:
    trial = Trial(failures=5, policy=Longest((Linear(1, 0), TimeWindow(2, 60))), attempts=10)

    assert trial.ended().outcome is Outcome.RESOLVED
    assert trial.row().result["tries"] == 6
    assert sum(trial.pauses.waited) == pytest.approx(1 + 59 + 1 + 59 + 1)
