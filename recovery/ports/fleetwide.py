"""What remedies change where every service can read it: degradations, endpoints, breakers; and the cooldown locks."""

from collections.abc import Collection
from typing import Protocol

from recovery.models import BreakerOrder, BreakerView, Degradation, Endpoint


class Degradations(Protocol):
    """Degradations in force, where services can read them. Every method may raise `StoreUnavailable`.

    There is one per service (or `*`) and layer; layers do not touch each other. It counts until nothing is left of it, its ramp included.
    """

    def current(self, service: str, layer: str = "recovery") -> Degradation | None:
        """Return what this layer lets `service` do without, None when nothing."""
        ...

    def all(self) -> list[Degradation]:
        """Return every degradation there is, by service and layer."""
        ...

    def put(self, degradation: Degradation) -> bool:
        """Put it in force until its `until` and tell the services; False if its layer has one with a higher fence."""
        ...

    def end(self, service: str, fence: int | None, layer: str = "recovery") -> bool:
        """Let it end from now on, by its ramp if it has one, and tell the services.

        False if there is none, or one with a higher fence; a fence of None is higher than any. True also if it ends already.
        """
        ...

    def clear(self, service: str, fence: int | None, layer: str = "recovery") -> bool:
        """End it at once, without its ramp, and tell the services; False as for `end`."""
        ...


class Endpoints(Protocol):
    """Where callers are sent while a primary is out. Every method may raise `StoreUnavailable`."""

    def current(self, service: str) -> Endpoint | None:
        """Return the backup in use, None for the primary."""
        ...

    def switch(self, endpoint: Endpoint) -> bool:
        """Send callers to a backup; False if a switch with a higher fence is in force."""
        ...

    def clear(self, service: str, fence: int) -> bool:
        """Send callers to the primary again; False if they are there, or a higher fence is in force."""
        ...


class Breakers(Protocol):
    """Circuit breakers that the fleet shares. Every method may raise `StoreUnavailable`."""

    def view(self, name: str) -> BreakerView | None:
        """Return one breaker as it stands, None if nobody ever used it."""
        ...

    def views(self) -> list[BreakerView]:
        """Return every known breaker, by name."""
        ...

    def half_open(self, name: str) -> BreakerView:
        """Let probes through now; a closed breaker stays closed."""
        ...

    def record(self, name: str, *, ok: bool) -> BreakerView:
        """Count one probe: enough successes in half-open close it or begin its ramp, a failure opens it again; else nothing changes."""
        ...

    def operate(
        self, name: str, order: BreakerOrder, by: str, reason: str, seconds: float | None = None, *, give_way: bool = False
    ) -> BreakerView:
        """Do what an operator or a strategy says, for all processes at once.

        Args:
            name: of the breaker.
            order: a mode, or to close now.
            by: who says so.
            reason: in a sentence.
            seconds: after which the mode is `auto` again, above 0, at most 366 days; None: it stands until another order.
            give_way: do nothing while a mode is in force that somebody else has set.
        """
        ...

    def repair(self, services: Collection[str], seconds: float) -> list[str]:
        """Mark the open breakers of these services for so long as under recovery, take the mark from all others; return who bears it."""
        ...

    def mend(self, service: str) -> list[str]:
        """Let callers probe the open breakers of a service that was verified healthy, and take the mark; return who was open."""
        ...


class Cooldowns(Protocol):
    """Locks that keep one strategy off one service for a while."""

    def acquire(self, service: str, strategy: str, holder: str, seconds: float) -> bool:
        """Take the lock for `seconds`; True also when `holder` has it already. Raises `StoreUnavailable`."""
        ...

    def remaining(self, service: str, strategies: Collection[str]) -> dict[str, float]:
        """Return the seconds left for each strategy that is locked. Raises `StoreUnavailable`."""
        ...

    def release(self, service: str, strategy: str, holder: str) -> None:
        """Free the lock if `holder` has it (the attempt never ran)."""
        ...
