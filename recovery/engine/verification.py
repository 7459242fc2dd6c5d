"""Asks a service's own checks whether a remedy worked: all must pass, and keep passing for a while."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recovery.ports import Probe

POLL_FIRST, POLL_MAX = 0.05, 0.5
"""Seconds between two looks: short at first, because most services come back quickly; doubling up to the maximum."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The answer of the checks."""

    ok: bool
    message: str
    seconds: float


def verify(
    probe: Probe,
    checks: Sequence[str],
    *,
    healthy_for: float,
    timeout: float,
    boundary: Callable[[], None],
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Verification:
    """Probe `checks` (`service.check`) until all pass in a row for `healthy_for` seconds, or until `timeout`.

    Args:
        probe: runs checks on the spot.
        checks: names; at least one.
        healthy_for: seconds of uninterrupted health, from the first good look to the last. With 0, one good look is enough.
        timeout: seconds after which a service that is not healthy counts as still sick.
        boundary: called between looks; raises to stop (lease lost, cancelled).
        now: monotonic seconds.
        pause: waits between two looks.
    """
    began = now()
    good_since: float | None = None
    interval, message = POLL_FIRST, ""
    while True:
        boundary()
        looked = now()
        bad = {name: finding.message for name, finding in probe(checks).items() if not finding.ok}
        if bad:
            good_since = None
            message = "; ".join(f"{name}: {text}" for name, text in sorted(bad.items()))
        elif good_since is None:
            good_since = looked
            interval = POLL_FIRST
        elapsed = now() - began
        if good_since is not None and now() - good_since >= healthy_for:
            return Verification(ok=True, message=f"{_count(checks)} passed for {now() - good_since:.1f} s", seconds=elapsed)
        if elapsed >= timeout:
            return Verification(
                ok=False, message=f"not healthy after {elapsed:.1f} s: {message or 'did not stay healthy'}", seconds=elapsed
            )
        pause(_next_pause(interval, good_since, healthy_for, now()))
        interval = min(interval * 2, POLL_MAX)


def _next_pause(interval: float, good_since: float | None, healthy_for: float, at: float) -> float:
    """Do not oversleep the moment at which the service has been healthy for long enough."""
    if good_since is None:
        return interval
    return max(0.01, min(interval, good_since + healthy_for - at))


def _count(checks: Sequence[str]) -> str:
    return f"{len(checks)} check{'s' if len(checks) != 1 else ''}"
