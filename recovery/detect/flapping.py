"""Tells a service that comes and goes from one that is down: how often its last looks changed, with the newer changes weighing more.

The formula is the one that Nagios and Icinga document: 21 looks, 20 possible changes, weights rising evenly from 0.8 to 1.2.
"""

LOOKS = 21
"""Looks that are remembered."""
OLDEST, NEWEST = 0.8, 1.2
"""Weight of a change between the two oldest looks, and between the two newest."""


def remember(recent: str, *, ok: bool) -> str:
    """Return the remembered looks (`1` passed, `0` did not, oldest first) after one more."""
    return f"{recent}{int(ok)}"[-LOOKS:]


def change_rate(recent: str) -> float:
    """Return how often the looks changed: weighted percent, 0 (never) to 100 (every time); 0 before `LOOKS` looks are known."""
    if len(recent) < LOOKS:
        return 0.0
    possible = LOOKS - 1
    step = (NEWEST - OLDEST) / (possible - 1)
    weights = (OLDEST + step * position for position in range(possible))
    changed = sum(weight for weight, one, next_one in zip(weights, recent, recent[1:], strict=False) if one != next_one)
    return round(100 * changed / possible, 2)


def is_flapping(rate: float, *, before: bool, high: float, low: float) -> bool:
    """Say whether a service flaps: from `high` percent on, and then until it is below `low`."""
    return rate >= high or (before and rate >= low)
