"""Runs the tries of one step: waits as its policy says, through tenacity, and stops for whatever stops the attempt."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import RetryCallState, Retrying, retry_if_exception

from recovery.backoff import Adaptive, Exponential, Jittered, Linear, Longest, Policy, Seen, TimeWindow
from recovery.config.retries import RetryDeclaration
from recovery.engine.limits import Deadline, Watch
from recovery.errors import StepFailed
from recovery.ports import Clock, Retry

LOOK_EVERY = 0.5
"""Seconds between two looks, during a wait, at whether to go on."""

ONCE = Retry(Linear(), attempts=1)


class Unsure(StepFailed):
    """Nobody can tell whether the step took effect; trying it again might do it twice."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What steps keep to while they run."""

    boundary: Callable[[], None]
    """Called before each step, between tries and during waits; raises to stop (lease lost, cancelled, out of time)."""
    deadline: Deadline
    watch: Watch
    clock: Clock
    error_rate: Callable[[], float] = lambda: 0.0
    """Share of the recent attempts on the service that failed, 0 to 1."""
    draw: Callable[[], float] = random.random

    def rest(self, seconds: float) -> None:
        """Wait, looking at the boundary all the while."""
        until = self.watch.now() + seconds
        self.boundary()
        while (left := until - self.watch.now()) > 0:
            self.watch.pause(min(left, LOOK_EVERY))
            self.boundary()


def declared(own: Retry | None, declaration: RetryDeclaration | None) -> Retry | None:
    """Return the retry of a step: as the operator declared it, else the strategy's own; what a try may mend is the strategy's to say."""
    if declaration is None:
        return own
    policy: Policy = Jittered(_growth(declaration), declaration.jitter, declaration.max)
    if declaration.per_window is not None:
        policy = Longest((policy, TimeWindow(declaration.per_window, declaration.window)))
    return Retry(policy, declaration.attempts, own.on, own.retry_at) if own else Retry(policy, declaration.attempts)


def _growth(declaration: RetryDeclaration) -> Policy:
    match declaration.policy:
        case "linear":
            return Linear(declaration.initial, declaration.increment, declaration.max)
        case "adaptive":
            return Adaptive(declaration.initial, declaration.multiplier, declaration.max)
        case _:
            return Exponential(declaration.initial, declaration.multiplier, declaration.max)


def try_until_done(once: Callable[[], None], retry: Retry, pace: Pace, failed: int, note: Callable[[int, str], None]) -> None:
    """Call `once` until it returns, as `retry` says; raises its last error when it gives up.

    A wait that would end after the deadline is not begun.

    Args:
        once: one try.
        retry: which errors are tried again, how often, and after which waits.
        pace: when to stop, and how time is measured.
        failed: tries that failed before, under an earlier holder of the lease.
        note: called after each failure that will be tried again, with the number of failures so far and the message.
    """
    begun: list[float] = []

    def wait(state: RetryCallState) -> float:
        failures = failed + state.attempt_number
        if retry.attempts is not None and failures >= retry.attempts:
            return math.inf
        opens, now = retry.retry_at(), pace.watch.now()
        seen = Seen(
            failed=failures,
            now=now,
            begun_at=tuple(begun),
            error_rate=pace.error_rate(),
            retry_at=None if opens is None else now + opens - pace.clock().timestamp(),
            draw=pace.draw(),
        )
        seconds = retry.policy.wait(seen)
        return math.inf if seconds is None else seconds

    def told(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        note(failed + state.attempt_number, str(error))

    tries = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, retry.on) and not isinstance(error, Unsure)),
        wait=wait,
        stop=lambda state: state.upcoming_sleep >= pace.deadline.left(),
        before=lambda _state: begun.append(pace.watch.now()),
        before_sleep=told,
        sleep=pace.rest,
        reraise=True,
    )
    tries(once)
