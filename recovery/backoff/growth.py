"""Policies whose waits grow with every failure, up to a maximum."""

from dataclasses import dataclass

from recovery.backoff.policy import Seen


@dataclass(frozen=True, slots=True)
class Exponential:
    """Wait `min(initial * multiplier^n, max)` seconds, n counting the waits before this one: 0, 1, 2, ...

    Source: the product's specification; the same as truncated binary exponential backoff (IEEE 802.3) for a multiplier of 2.
    """

    initial: float = 0.5
    """Seconds of the first wait, above 0."""
    multiplier: float = 2.0
    """At least 1."""
    max: float = 30.0
    """Seconds; no wait is longer."""

    def wait(self, seen: Seen) -> float:
        """Return the seconds to wait."""
        try:
            return min(self.initial * self.multiplier ** (seen.failed - 1), self.max)
        except OverflowError:  # the power passed 1e308, so certainly the maximum
            return self.max


@dataclass(frozen=True, slots=True)
class Linear:
    """Wait `min(initial + increment * n, max)` seconds, n counting the waits before this one. An increment of 0: always `initial`."""

    initial: float = 0.5
    """Seconds of the first wait, 0 or more."""
    increment: float = 0.5
    """Seconds that each wait is longer than the one before, 0 or more."""
    max: float = 30.0
    """Seconds; no wait is longer."""

    def wait(self, seen: Seen) -> float:
        """Return the seconds to wait."""
        return min(self.initial + self.increment * (seen.failed - 1), self.max)


@dataclass(frozen=True, slots=True)
class Adaptive:
    """Wait as `Exponential` while recent work succeeds, and up to `max` the more of it fails.

    With b the exponential wait and r the error rate the wait is `b^(1-r) * max^r`, the geometric mean weighted by r: b at r = 0, `max`
    at r = 1, and equal steps of r multiply it by equal factors. The idea, to slow down by the observed share of errors, is
    that of client-side throttling (Google, Site Reliability Engineering, chapter 21); the formula is our own.
    """

    initial: float = 0.5
    """Seconds of the first wait without errors, above 0."""
    multiplier: float = 2.0
    """At least 1."""
    max: float = 30.0
    """Seconds; no wait is longer."""

    def wait(self, seen: Seen) -> float:
        """Return the seconds to wait."""
        calm = Exponential(self.initial, self.multiplier, self.max).wait(seen)
        rate = min(max(seen.error_rate, 0.0), 1.0)
        wait: float = calm ** (1 - rate) * self.max**rate
        return min(wait, self.max)
