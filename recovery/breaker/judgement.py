"""Says whether counted calls should open a breaker. Pure; `lua/circuit.lua` judges the fleet's counts in the same way."""

from dataclasses import dataclass

from recovery.breaker.options import BreakerOptions


@dataclass(frozen=True, slots=True)
class Counts:
    """What a window holds."""

    calls: int = 0
    """All that counted; ignored ones do not."""
    failures: int = 0
    slow: int = 0
    """Slow calls, failed or not."""
    in_a_row: int = 0
    """Failures since the last success, also those that left the window."""


def verdict(counts: Counts, options: BreakerOptions) -> str:
    """Return why the breaker should open, in a few words; empty: it should not."""
    if options.failure_threshold is not None and counts.in_a_row >= options.failure_threshold:
        return f"{counts.in_a_row} failure{'s' * (counts.in_a_row > 1)} in a row"
    if counts.calls < options.minimum_requests:
        return ""
    if options.failure_rate is not None and counts.failures >= options.failure_rate * counts.calls:
        return f"{counts.failures} of {counts.calls} calls failed"
    if options.slow_call_duration is not None and counts.slow >= options.slow_call_rate * counts.calls:
        return f"{counts.slow} of {counts.calls} calls took {options.slow_call_duration:g} s or longer"
    return ""
