"""Wait for a condition of the outside world."""

import time
from collections.abc import Callable

INTERVAL = 0.02
"""Seconds between two looks."""


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = INTERVAL) -> bool:
    """Look until `condition` holds or `timeout` seconds have passed; return whether it held. Looks at least once."""
    deadline = time.monotonic() + timeout
    while not condition():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(interval, left))
    return True
