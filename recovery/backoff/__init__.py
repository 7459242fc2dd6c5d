"""How long to wait after a failed try, and when to stop trying. Pure: time, randomness and what was seen come in as arguments.

The formulas live here; running them is tenacity's (`recovery.engine.retries`).
"""

from recovery.backoff.bounds import BreakerAware, Lasting, TimeWindow
from recovery.backoff.composite import First, Longest
from recovery.backoff.growth import Adaptive, Exponential, Linear
from recovery.backoff.jitter import Jitter, Jittered
from recovery.backoff.policy import Policy, Seen

__all__ = [
    "Adaptive",
    "BreakerAware",
    "Exponential",
    "First",
    "Jitter",
    "Jittered",
    "Lasting",
    "Linear",
    "Longest",
    "Policy",
    "Seen",
    "TimeWindow",
]
