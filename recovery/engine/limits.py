"""Limits in time: how an attempt measures it, when it must end, and how a step that takes too long is interrupted."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import _GeneratorContextManager, contextmanager
from dataclasses import dataclass
from types import FrameType

from recovery.errors import StepFailed, TimeUp

REPEAT = 5.0
"""Seconds after which a step is interrupted again, if the first interruption was swallowed or came at a bad moment."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Measures time and lets it pass. Monotonic: a clock that is set must not end an attempt; tests bring their own."""

    now: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep


MONOTONIC = Watch()
"""The time of this machine."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on a watch, and what is said once it has passed."""

    watch: Watch
    at: float
    said: str

    def left(self) -> float:
        """Return the seconds that are left; 0 or less once it has passed."""
        return self.at - self.watch.now()

    def require(self) -> None:
        """Raise `TimeUp` once it has passed."""
        if self.left() <= 0:
            raise TimeUp(self.said)


SOONEST = 0.05
"""Seconds that a block has at least: an alarm that came before it was entered would hit whoever called."""


class _Shield:
    depth = 0


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no time limit hit the block: a database call that is left in the middle may leave its transaction open."""
    _Shield.depth += 1
    try:
        yield
    finally:
        _Shield.depth -= 1


_LEAVE = _GeneratorContextManager.__exit__.__code__
"""An alarm that struck here, on the way out of the block, would leave the timer running for good."""


class _Expired(BaseException):
    """Time is up. No `Exception`, because what runs inside a step (drivers, checks, SQLAlchemy) catches or wraps those."""


@contextmanager
def within(seconds: float, name: str, deadline: Deadline | None = None) -> Iterator[None]:
    """Raise `StepFailed` if the block takes longer than `seconds`, `TimeUp` if `deadline` passes before that.

    Works by an interval timer, so only in the main thread of a process, which is where pool workers run their tasks; elsewhere
    the deadline is only looked at before the block, and the task's own time limit is the bound of what is inside.
    """
    left = math.inf
    if deadline is not None:
        deadline.require()
        left = deadline.left()
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    over = False

    def expire(_signal: int, frame: FrameType | None) -> None:
        leaving = frame is not None and frame.f_code in {_LEAVE, within.__wrapped__.__code__, stop.__code__}  # type: ignore[attr-defined]
        if not over and not leaving and not _Shield.depth:
            raise _Expired

    def stop() -> None:
        nonlocal over
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    previous = signal.signal(signal.SIGALRM, expire)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, max(min(seconds, left), SOONEST), REPEAT)
            yield
        finally:
            stop()
    except _Expired:
        stop()  # again: the alarm may have hit the first one
        if deadline is not None and left < seconds:
            raise TimeUp(deadline.said) from None
        raise StepFailed(f"{name} took longer than {seconds:g} s") from None
