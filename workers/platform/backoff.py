"""How long a child that died waits before it is started again."""

FIRST = 0.2
"""Seconds before the first restart."""
LONGEST = 10.0
"""Seconds between the restarts of a child that dies again and again."""
SETTLED = 30.0
"""Seconds of life after which earlier deaths are forgiven."""


def next_delay(previous: float, lived: float) -> float:
    """Return the seconds to wait before the next start.

    Args:
        previous: what this function returned for the death before, 0 if there was none.
        lived: seconds between the last start and this death.
    """
    return FIRST if previous <= 0 or lived >= SETTLED else min(previous * 2, LONGEST)
