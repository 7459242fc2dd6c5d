"""How our steps are tried again where nobody declared otherwise."""

from recovery.backoff import Exponential, Jittered
from recovery.errors import DriverError
from recovery.ports import Retry

BRIEFLY = Retry(Jittered(Exponential(initial=0.5, multiplier=2, max=5)), attempts=3)
"""At most 1.5 s in all: outlasts a hiccup, and does not keep the plan's next strategy waiting."""
BRIEFLY_ON_DRIVER_ERRORS = Retry(BRIEFLY.policy, BRIEFLY.attempts, on=(DriverError,))
"""What the driver could not reach may be there a moment later; what it reached and found wrong will not mend itself."""
