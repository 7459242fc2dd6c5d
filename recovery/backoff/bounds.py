"""Policies that follow something other than the number of failures: a breaker, a quota, a deadline."""

from dataclasses import dataclass

from recovery.backoff.policy import Seen


@dataclass(frozen=True, slots=True)
class BreakerAware:
    """Wait until the breaker of what is called lets a call through: a try before that is refused and only costs time."""

    def wait(self, seen: Seen) -> float:
        """Return the seconds until the breaker's `retry_at`, 0 once it has passed or without one."""
        return max(0.0, seen.retry_at - seen.now) if seen.retry_at is not None else 0.0


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Allow at most `tries` tries within any `seconds` seconds: wait until the oldest of the last `tries` is that old.

    This is the sliding-window-log rate limit.
    """

    tries: int
    """From 1."""
    seconds: float
    """Above 0."""

    def wait(self, seen: Seen) -> float:
        """Return the seconds until one more try fits into the window."""
        if len(seen.begun_at) < self.tries:
            return 0.0
        return max(0.0, seen.begun_at[-self.tries] + self.seconds - seen.now)


@dataclass(frozen=True, slots=True)
class Lasting:
    """Stop once `seconds` have passed since the first try began; until then it asks for no wait of its own."""

    seconds: float
    """0 or more."""

    def wait(self, seen: Seen) -> float | None:
        """Return 0 while there is time, None afterwards."""
        return None if seen.begun_at and seen.now - seen.begun_at[0] >= self.seconds else 0.0
