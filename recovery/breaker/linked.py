"""One breaker on its way to the fleet: what was last heard of it, and whether it can be shared at all."""

from dataclasses import dataclass

from recovery.breaker.caller import Breaker
from recovery.breaker.snapshot import Snapshot


@dataclass(slots=True)
class Linked:
    """One breaker, what was last heard of it, and when by the monotonic clock."""

    breaker: Breaker
    heard: Snapshot | None = None
    heard_at: float = 0.0
    asked: bool = False
    """The fleet has had its options from this process."""
    spoiled: bool = False
    """Something foreign lies under its keys: it goes on alone until that is gone."""

    def is_at_rest(self) -> bool:
        """Say whether it is closed here and was so in the fleet, and nothing but news can change that."""
        known = self.heard.circuit if self.heard else None
        return known is not None and known.ordered.until is None and known.state == self.breaker.circuit.state == "closed"

    def probed_in(self, now: float) -> float:
        """Return the seconds until callers may probe, by what was heard."""
        if self.heard is None or self.heard.circuit.retry_at is None:
            return 0.0
        return max(0.0, self.heard.circuit.retry_at - self.heard.view.now - (now - self.heard_at))
