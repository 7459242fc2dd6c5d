"""Chance in waits, so that many who failed together do not come back together."""

from dataclasses import dataclass
from enum import StrEnum

from recovery.backoff.policy import Policy, Seen


class Jitter(StrEnum):
    """How much of a wait is left to chance.

    Names and formulas: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. There w is the wait.
    """

    NONE = "none"
    """w"""
    FULL = "full"
    """Anything from 0 to w."""
    EQUAL = "equal"
    """w/2, and anything from 0 to w/2 on top."""


@dataclass(frozen=True, slots=True)
class Jittered:
    """Leave a part of another policy's wait to chance; neither that wait nor the ceiling is ever exceeded.

    Wrap only what may be shortened: a breaker's `retry_at` and a window are limits, combine those by `Longest` outside.
    """

    policy: Policy
    jitter: Jitter = Jitter.FULL
    ceiling: float = float("inf")
    """Seconds."""

    def wait(self, seen: Seen) -> float | None:
        """Return the seconds to wait; None if the policy stops."""
        whole = self.policy.wait(seen)
        if whole is None:
            return None
        whole = min(whole, self.ceiling)
        match self.jitter:
            case Jitter.NONE:
                return whole
            case Jitter.FULL:
                return whole * seen.draw
            case Jitter.EQUAL:
                return whole / 2 + whole / 2 * seen.draw
