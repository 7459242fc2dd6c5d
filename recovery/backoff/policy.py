"""What a policy is told, and what it answers."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known when a try has failed. All moments are seconds on one clock, whichever it is."""

    failed: int = 1
    """Tries that failed so far, this one included; from 1."""
    now: float = 0.0
    begun_at: tuple[float, ...] = ()
    """When each try began, oldest first."""
    error_rate: float = 0.0
    """Share of recent work that failed, 0 to 1."""
    retry_at: float | None = None
    """When the circuit breaker of what is called lets a call through again; None: now."""
    draw: float = 0.0
    """A random number, 0 <= draw < 1."""


class Policy(Protocol):
    """Says how long to wait before the next try."""

    def wait(self, seen: Seen) -> float | None:
        """Return the seconds to wait, 0 or more; None: do not try again."""
        ...
