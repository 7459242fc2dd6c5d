"""How a degradation ends: not at once, but for a growing part of the callers. Pure, and light: the client uses it, too."""

from collections.abc import Sequence
from zlib import crc32

IN_FORCE, GONE = 0, 100
"""Percent of the callers for whom it is over."""


def restored(now: float, until: float, ramp: Sequence[int], stage: float) -> int:
    """Return the percentage of callers for whom a degradation is over at `now`: 0 until its `until`, 100 when the ramp is through.

    Nobody needs to be alive for it: whoever knows the degradation knows how it ends.

    Args:
        now: seconds since the epoch.
        until: when it ends, seconds since the epoch.
        ramp: percentages, rising, each 1 to 99; each lasts for `stage`.
        stage: seconds.
    """
    if now < until:
        return IN_FORCE
    place = int((now - until) // stage) if ramp else 0
    return ramp[place] if place < len(ramp) else GONE


def gone_at(until: float, ramp: Sequence[int], stage: float) -> float:
    """Return when nothing is left of it, seconds since the epoch."""
    return until + len(ramp) * stage


def share_of(key: str, feature: str) -> float:
    """Return where a caller stands among all, from 0 up to but not including 100; the same caller is always at the same place.

    Another feature has another order, so that it is not always the same callers who come first. CRC-32 is even enough and quick.
    """
    return crc32(f"{feature}\0{key}".encode()) % 10_000 / 100


def left_of(capability: int, percent: int) -> int:
    """Return what a capability stands at, 0 to 100, while `percent` of the way back is done."""
    return capability + (100 - capability) * percent // 100
